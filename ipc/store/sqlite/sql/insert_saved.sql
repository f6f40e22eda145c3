-- Insert a saved task. It makes no move, so no event is written. Columns and values follow.
INSERT INTO tasks 