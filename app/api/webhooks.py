"""`/v1/webhook_endpoints`: who is told of events, with what secret, and what was sent so far."""
# ruff: noqa: FAST003  (the id in the path is taken by `endpoint_of`, which the rule does not follow)

import secrets as random
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from app.api.body import BodyFields
from app.api.document import COMMON, ERRORS, MISSING, body_of
from app.api.fields import Fields, Flag, Text, parsed_list, validated
from app.auth import Owner, caller_of
from app.contract.events import EVENT_TYPES
from app.contract.outbox import body_of as event_body
from app.contract.pages import CursorNotFound
from app.contract.sending import Sender
from app.contract.webhooks import Endpoint, EndpointNotFound
from app.errors import Conflict, InvalidRequest, NotFound, Unreachable
from app.parts import PartsOf
from app.receivers import checked_url

#: More than that are a mistake.
MAX_ENDPOINTS = 50
