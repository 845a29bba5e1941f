"""The base of models that cross a boundary."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A model that nobody changes, and that refuses fields which it does not have."""

    model_config = ConfigDict(extra="forbid", frozen=True)
