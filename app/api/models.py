"""`/v1/models`: what the live workers serve, as they registered it."""

from fastapi import APIRouter, Depends

from app.api.document import COMMON, MISSING
from app.api.objects import Model, ModelList
from app.auth import caller_of
from app.contract import capabilities, models
from app.contract.capabilities import Unsupported
from app.errors import NotFound
from app.parts import PartsOf

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(caller_of)])


@router.get("/", include_in_schema=False)  # else it would name a model, by no name
@router.get("", responses=COMMON)
def list_models(parts: PartsOf) -> ModelList:
    """The models that can be asked for."""
    return ModelList(data=[model_object(model) for model in parts.store.models.list()])


@router.get("/{name:path}", responses=MISSING)
def retrieve_model(name: str, parts: PartsOf) -> Model:
    """One model, by its name or an alias such as `sora-2`."""
    offered = parts.store.models.list()
    known = [model.capabilities for model in offered]
    try:
        found = capabilities.resolve(name, known, parts.settings.default_model)
    except Unsupported as refused:
        raise NotFound(str(refused), param="model", code="model_not_found") from None
    return model_object(offered[known.index(found)])


def model_object(model: models.Model) -> Model:
    """A registered model as the API shows it."""
    can = model.capabilities
    return Model(
        id=can.model_id,
        created=int(model.created_at),
        aliases=list(can.aliases),
        modes=list(can.modes),
        workers=model.workers,
        sizes=[f"{width}x{height}" for width, height in can.sizes],
        default_size=f"{can.width}x{can.height}",
        default_seconds=can.frames / can.fps,
        max_seconds=can.max_seconds,
        max_pixels=can.max_pixels,
        fps=can.fps,
        num_inference_steps=can.steps,
        max_steps=can.max_steps,
        guidance_scale=can.guidance,
        guidance_scale_2=can.guidance_2,
        flow_shift=can.flow_shift,
        strength=can.strength,
        styles=[name for name, _ in can.styles],
    )
