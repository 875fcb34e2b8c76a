"""`engage run` takes events of others too, and its account stays exact."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from agents.settings import PREFIX
from tests.collector.served import basic

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
async def test_what_is_sent_in_is_counted_to_the_last_event() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {"ENGAGE_HTTP_PORT": "0", "ENGAGE_COLLECTOR_PORT": "0", "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "agents", "run", "--rate", "20", "--duration", "14"]
    run = await asyncio.create_subprocess_exec(*words, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout is not None
    found = None
    while found is None:
        found = re.search(r"events +(\S+) · write key (\S+) \(site shop\)", (await run.stdout.readline()).decode())
    url, key = found[1], found[2]
    accepted = 0
    async with aiohttp.ClientSession() as session:
        for number in range(10_000):  # until the door is shut
            messages = [{"type": "page", "anonymousId": f"w{number}", "messageId": f"w{number}", "properties": {"path": "/"}}, {"type": "track"}]
            try:
                async with session.post(f"{url}/v1/batch", json={"batch": messages}, headers=basic(key)) as answer:
                    accepted += (await answer.json()).get("accepted", 0)
            except aiohttp.ClientError:
                if accepted:
                    break
            await asyncio.sleep(0.1)
    output, errors = await run.communicate()
    assert run.returncode == 0, errors.decode()
    result = json.loads(output.splitlines()[-1])
    assert result["sent_in"] == accepted > 0
    assert result["received"] == result["produced"] > accepted
    assert result["unaccounted"] == 0
