"""What the platform's knowledge of itself consists of: tables alone."""

from convergence.use_case import UseCase

USE_CASE = UseCase(name="governance", owner="team:platform")
