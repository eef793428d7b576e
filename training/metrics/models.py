"""Which stored model a command line names."""

from collections.abc import Collection

from services.contracts.card import RECOGNITION_TASKS, SERVED_TASKS, Task
from services.contracts.errors import BadInput, BadUsage
from services.models.store import ModelStore, StoredModel
from services.settings import read_settings


def find_model(reference: str, task: Task) -> StoredModel:
    """A model by name, name@version, digest or path of its card; `champion` is the task's own.

    Raises:
        MissingModel: Nothing answers to it.
        BadUsage: It does another task.
    """
    store = ModelStore(read_settings().models)
    model = store.champion(task) if reference == "champion" else store.find(reference)
    if model.card.task != task:
        raise BadUsage(f"{reference} does {model.card.task}; {task} is measured here")
    return model


def find_recognizer(reference: str, actions: Collection[str]) -> StoredModel:
    """A model that recognises these actions.

    `champion` is the first that knows them all: of what is served the champions; of interactions, which are measured
    and not served, whatever is installed.

    Raises:
        MissingModel: Nothing answers to it.
        BadUsage: It does another task.
        BadInput: It, or every champion, lacks one of the actions.
    """
    store = ModelStore(read_settings().models)
    if reference == "champion":
        served = [task for task in SERVED_TASKS if task == "action" or store.has_champion(task)]
        models = [store.champion(task) for task in served]
        models += [model for model in store.installed() if model.card.task == "interaction"]
    else:
        models = [store.find(reference)]
        if models[0].card.task not in RECOGNITION_TASKS:
            raise BadUsage(f"{reference} does {models[0].card.task}; {', '.join(RECOGNITION_TASKS)} are measured here")
    for model in models:
        if set(actions) <= set(model.card.classes):
            return model
    known = "; ".join(f"{model.card.name} knows {', '.join(model.card.classes)}" for model in models)
    raise BadInput(f"none knows all of {', '.join(sorted(actions))}: {known}")
