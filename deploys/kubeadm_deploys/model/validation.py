"""Pydantic models of user input that report every wrong value in a sentence with field, value and fix."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from kubeadm_deploys.model.errors import InputError, meant, shortened, shown


class Checked(BaseModel):
    """A frozen model that validates its defaults and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    example: ClassVar[Mapping[str, object]] = {"count": 1}
    """What to write instead of a value that is not a mapping."""

    secret: ClassVar[bool] = False
    """Whether a value in place of the model may be a secret, so that no message shows it."""

    instead: ClassVar[Mapping[str, str]] = {}
    """The fix by name, for unknown fields that users are likely to write."""


class Input(Checked):
    """A model of user input.

    Raises:
        InputError: lists every wrong field with its value and the fix.
    """

    unknown: ClassVar[str] = "is not a setting"
    """The problem to report for an unknown field."""

    elsewhere: ClassVar[frozenset[str]] = frozenset()
    """Fields that are set in another place, so they are not suggested for unknown ones."""

    def __init__(self, /, **values: Any) -> None:
        self._read(values)

    def _read(self, values: dict[str, Any], *, context: object = None, of: str = "") -> None:
        try:
            self.__pydantic_validator__.validate_python(values, self_instance=self, context=context)
        except ValidationError as error:
            raise InputError(problems_of(error, model=type(self), of=of)) from None


def problems_of(error: ValidationError, *, model: type[Input], of: str = "") -> Iterator[str]:
    """Yield a sentence for each wrong value; ``of`` says whose it is, like ``of host worker-1``."""
    for details in error.errors(include_url=False):
        # For a wrong key of a mapping, pydantic adds this part.
        field = ".".join(_printable(part) for part in details["loc"] if part != "[key]")
        if details["type"] == "extra_forbidden":
            inner, name = _model_at(model, details["loc"][:-1]), str(details["loc"][-1])
            known = [name for name in inner.model_fields if name not in model.elsewhere]
            fix = inner.instead.get(name) or meant(name, known, otherwise=f"choose {', '.join(known)}")
            yield f"{field}: {model.unknown}; {fix}"
        elif details["type"] == "missing":
            yield f"{field}: is missing; set it"
        else:
            info = _model_at(model, details["loc"][:-1]).model_fields.get(str(details["loc"][-1]))
            inner = _model_at(model, details["loc"])
            secret = inner.secret and (not info.repr if info else details["loc"][-1] != "[key]")
            value = "its value" if secret else shown(details["input"])
            yield f"{field}: {value}{of} {_sentence(details, info, example=inner.example)}"


def _printable(part: int | str) -> str:
    return shortened(part) if isinstance(part, str) and part.isprintable() else shown(part)


def _sentence(error: Any, field: FieldInfo | None, *, example: Mapping[str, object]) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if field and get_origin(field.annotation) is Literal:
        return f"is not valid; choose {' or '.join(filter(None, get_args(field.annotation)))}"
    if error["type"] in ("mapping_type", "dict_type", "model_type"):
        return f"is not a mapping; write it like {next(iter((field and field.examples) or ()), example)}"
    return f"is not valid ({error['msg']}); correct it"


def _model_at(model: type[Checked], path: tuple[int | str, ...]) -> type[Checked]:
    """Return the model that contains the field at ``path``; for a mapping, the model of its values."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        annotation = field.annotation
        inner = [annotation, *getattr(annotation, "__args__", ())]
        model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, Checked)), model)
    return model
