"""Launch, be told, read what came of it."""

from backburner import BackgroundManager

with BackgroundManager(start=True) as manager:  # this project's home; its supervisor stays
    me = "ses-1"
    manager.on_complete(lambda task: print("told:", task.description, task.status))
    build = manager.launch(command=["sh", "-c", "sleep 0.2; echo ok"], description="build", parent_session_id=me)
    manager.launch(call="json:loads", args=["{"], after=[build.id], description="parse", parent_session_id=me)
    for task in manager.wait(parent=me, timeout=60):
        print(task.id, task.result or task.error)
