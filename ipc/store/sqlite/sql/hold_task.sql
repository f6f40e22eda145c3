-- Hold a ready task behind the one that runs in the slot of its worker.
UPDATE tasks SET ready = 2, owner = :owner, held = :claim, due_at = NULL WHERE number = :number AND status = 'pending' AND ready = 1
