"""Who sends many images at once waits or is refused, and holds up nobody who asks with words."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from convergence.serving.search_routes import DECODED
from tests.convergence.search.small_world import World, picture, squares
from tests.convergence.serving.search_service import search_service

MORE = 3  # than may wait


def test_more_images_than_may_wait_for_the_decoder_are_refused_at_once_and_words_are_answered(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.release(world.build(squares(world.objects, 3)))
    with search_service(world) as service, ThreadPoolExecutor(DECODED + MORE) as senders:
        free, answers = threading.Event(), []

        def hold() -> None:
            with service.decoder._turn:
                held.set()
                free.wait(60)

        held = threading.Event()
        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(10)
        images = [picture((10 * n + 90, 9, 9)) for n in range(DECODED + MORE)]
        for image in images:
            senders.submit(lambda image=image: answers.append(service.post(image)))
        until = time.monotonic() + 30
        while len(answers) < MORE and time.monotonic() < until:
            time.sleep(0.01)
        assert [(status, told["error"]["code"]) for status, told in answers] == [(503, "busy")] * MORE
        assert service.found(q="red")
        free.set()
        holder.join()
        senders.shutdown()
        assert sorted(status for status, _ in answers) == [200] * DECODED + [503] * MORE
