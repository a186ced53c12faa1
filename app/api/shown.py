"""A job as the API shows it, and how long a client may wait before it looks again."""

from fastapi import Response

from app.api.objects import JobError, StoryboardShot, Tiles, Video
from app.contract import outputs
from app.contract.job import Job, JobSpec, Status
from app.parts import Parts

#: Milliseconds between a client's polls. The SDK reads them from its first poll only and keeps
#: them for the whole wait, so they are a tenth of that wait, within these limits.
POLL_MS = 1000
MAX_POLL_MS = 15_000
POLLS = 10


def followed(job: Job, parts: Parts, response: Response) -> Video:
    """A job with its place in the queue and its end in time, and in a header when another look is
    worth it.
    """
    shown = with_outlook(job, parts)
    wait_s = shown.eta_seconds
    if wait_s is None:  # of a first job nothing is known
        wait_s = POLLS * (1 + (shown.queue_position or 0))
    wait_ms = 0 if job.finished else min(MAX_POLL_MS, max(POLL_MS, wait_s * 1000 // POLLS))
    response.headers["openai-poll-after-ms"] = str(wait_ms)
    return shown


def with_outlook(job: Job, parts: Parts) -> Video:
    """A job with its place in the queue and the seconds until it is finished."""
    if job.finished:
        return video(job)
    ahead = parts.store.queue_position(job) if job.status is Status.QUEUED else None
    eta_s = parts.store.eta_s(job)
    eta_seconds = None if eta_s is None else round(eta_s)
    return video(job).model_copy(update={"queue_position": ahead, "eta_seconds": eta_seconds})


def video(job: Job) -> Video:
    """A job as the API shows it, by its row alone."""
    spec, extra = job.spec, job.extra
    error = JobError(code=job.error_code or "failed", message=job.error_message or "")
    prompt = extra.get("prompt", spec.prompt)
    return Video(
        id=job.id,
        status=job.status.value,
        progress=job.percent,
        model=job.model_name,
        prompt=prompt,
        size=f"{spec.width}x{spec.height}",
        seconds=seconds_of(job),
        created_at=int(job.created_at),
        completed_at=_second(job.finished_at) if job.status is Status.COMPLETED else None,
        expires_at=_second(job.expires_at),
        remixed_from_video_id=job.remixed_from,
        error=error if job.status is Status.FAILED else None,
        stage=job.stage.value,
        operation=extra.get("operation", "create"),
        started_at=_second(job.started_at),
        revised_prompt=spec.prompt if spec.prompt != prompt and not spec.shots else None,
        frames=spec.clip_frames,
        fps=spec.fps,
        seed=spec.seed,
        negative_prompt=spec.negative_prompt,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance,
        guidance_scale_2=spec.guidance_2,
        flow_shift=spec.flow_shift,
        strength=spec.strength,
        style=extra.get("style"),
        loop=spec.loop or (spec.after is not None and spec.after == spec.before),
        direction=extra.get("direction"),
        storyboard=_storyboard(spec),
        priority=job.priority,
        metadata=extra.get("metadata", {}),
        webhook_url=job.webhook_url,
        siblings=extra.get("siblings", []),
        source_video_ids=extra.get("sources", []),
        attempt=job.attempt,
        spritesheet=_tiles(job),
    )


def seconds_of(job: Job) -> str:
    """The length as the client asked for it; else what it is."""
    return job.extra.get("seconds", f"{job.spec.seconds:g}")


def _storyboard(spec: JobSpec) -> list[StoryboardShot] | None:
    shots = [
        StoryboardShot(prompt=shot.prompt, seconds=round(shot.frames / spec.fps, 4))
        for shot in spec.shots
    ]
    return shots or None


def _tiles(job: Job) -> Tiles | None:
    spec = job.spec
    if job.output_key is None or spec.output != "mp4":
        return None
    sheet = outputs.sprites(spec.width, spec.height, spec.clip_frames)
    return Tiles(
        columns=sheet.columns,
        rows=sheet.rows,
        width=sheet.width,
        height=sheet.height,
        frames=sheet.frames,
    )


def _second(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
