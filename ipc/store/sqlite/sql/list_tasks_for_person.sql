-- Return the tasks of these IDs that notify a person by themselves.
SELECT id FROM tasks WHERE id IN (SELECT value FROM json_each(:ids)) AND notify = 'person'
