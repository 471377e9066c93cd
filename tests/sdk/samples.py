"""What the tests ask, in no dialect yet, and what they may expect to hear."""

from pydantic import BaseModel

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP438AAAAQBAYDFKhhdAAAAAElFTkSuQmCC"
)
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "A city."}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
ONE_CITY = "What is the weather in Paris?"
TWO_CITIES = "What is the weather in two cities?"
RESULT = "21 degrees and sunny"


class Wind(BaseModel):
    speed: float
    from_the_sea: bool


class Forecast(BaseModel):
    """Nested, with a list and an optional field, as real schemas are."""

    city: str
    days: int
    wind: Wind
    warnings: list[str]
    note: str | None


def check_forecast(forecast):
    assert isinstance(forecast, Forecast)
    assert forecast.city == "Paris"
    assert forecast.days >= 1
    assert forecast.wind.from_the_sea is True


def check_story(headers, upstream, served, attempts=1):
    """The gateway's own headers name who served."""
    assert headers["x-request-id"]
    assert headers["x-mainstay-provider"] == f"up-{upstream}"
    assert headers["x-mainstay-model"] == served
    assert headers["x-mainstay-attempts"] == str(attempts)
    assert headers["x-mainstay-fallback"] == str(attempts - 1)
