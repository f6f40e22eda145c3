"""Launch, be told, read what came of it."""

from backburner import BackgroundManager

with BackgroundManager(start=True) as manager:  # this project's home; its supervisor stays
    manager.on_complete(lambda task: print("told:", task.description, task.status))
    build = manager.launch(
        command=["sh", "-c", "echo compiling; sleep 0.2; echo built"],
        model="opus",
        parent_session_id="ses-1",
        description="build",
    )
    manager.launch(
        call="json:loads", args=["{"], after=[build.id], parent_session_id="ses-1", description="parse"
    )
    for task in manager.wait(parent="ses-1", timeout=60):
        print(task.description, task.attempt, task.result or task.error)
    print(manager.output(build.id), end="")
