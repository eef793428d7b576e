"""Which stored model a command line names."""

from services.contracts.card import Task
from services.contracts.errors import BadUsage
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
