-- Hold a ready task behind the task that runs in its worker's slot.
UPDATE tasks SET ready = 2, owner = :owner, held = :claim, due_at = NULL WHERE number = :number AND status = 'pending' AND ready = 1
