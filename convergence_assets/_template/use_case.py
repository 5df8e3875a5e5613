"""What the use case consists of."""

from convergence.use_case import UseCase
from convergence_assets._template.arrivals import FIRST_DAY, LAST_DAY, TOPIC

USE_CASE = UseCase(name="template", owner="team:template", calendar=(FIRST_DAY, LAST_DAY), topics=(TOPIC,))
