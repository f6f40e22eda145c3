"""Launch two tasks, be notified when they end, and read their results."""

from backburner import BackgroundManager

with BackgroundManager(start=True) as manager:  # opens this project's state directory; the supervisor stays
    session = "ses-1"
    manager.on_complete(lambda task: print("ended:", task.description, task.status))
    build = manager.launch(command=["sh", "-c", "sleep 0.2; echo ok"], description="build", parent_session_id=session)
    manager.launch(call="json:loads", args=["{"], after=[build.id], description="parse", parent_session_id=session)
    for task in manager.wait(parent=session, timeout=60):
        print(task.description, "->", task.result or task.error)
