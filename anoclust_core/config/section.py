"""What every group of settings is: frozen, and a name that does not exist is an error."""

from __future__ import annotations

from typing import ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationInfo,
    field_validator,
)

from anoclust_core.config.setting import (
    extra_of,
)


class Section(BaseModel):
    """Frozen settings; a name that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    heading: ClassVar[str] = ""
    """Heading of these settings in a command's help; empty for that of all other options."""

    @field_validator("*", mode="before")
    @classmethod
    def _word_for_nothing(cls, value: object, info: ValidationInfo) -> object:
        """Read a word as no value: files and environment variables have no other way to say it."""
        word = extra_of(cls.model_fields[str(info.field_name)]).get("nothing")
        return None if word is not None and value == word else value
