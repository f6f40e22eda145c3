-- The sixth schema: plain names of tables and columns, and tags.

ALTER TABLE groups RENAME COLUMN most TO slot_limit;

ALTER TABLE keys RENAME COLUMN grp TO limit_group;

ALTER TABLE tasks RENAME COLUMN grp TO limit_group;

ALTER TABLE tasks RENAME COLUMN uniq TO unique_key;

ALTER TABLE parked RENAME COLUMN grp TO limit_group;

ALTER TABLE dependencies RENAME COLUMN over TO finished;

ALTER TABLE dependencies RENAME COLUMN well TO succeeded;

DROP INDEX dependencies_over;

CREATE INDEX dependencies_finished ON dependencies (task) WHERE finished = 1;

ALTER TABLE heirs RENAME TO successors;

ALTER TABLE successors RENAME COLUMN heir TO successor;

DROP INDEX tasks_unwell;

CREATE INDEX tasks_failed ON tasks (status, number) WHERE status IN ('error', 'cancelled');

ALTER TABLE tasks ADD COLUMN tags TEXT;
