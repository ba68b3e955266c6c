"""The files of a trial's run, by what happened."""

from __future__ import annotations

from typing import Any

from orchestrator.files import to_json
from orchestrator.tracking.pages import candidates_csv, network_page, prompts_page


def artifacts_of(event: dict[str, Any], network: dict[str, Any] | None) -> dict[str, str]:
    """Return the files that an event adds to a run, by path.

    Args:
        event: What happened.
        network: The network before it; None at the start.
    """
    step = f"step_{event['step']:03d}"
    match event["kind"]:
        case "start" | "step":
            files = {f"prompts/{step}.md": prompts_page(event, network)}
            if event["candidates"]:
                files[f"candidates/{step}.csv"] = candidates_csv(event["candidates"])
            return files
        case "finish":
            best = event["best_network"]
            return {
                "network.json": to_json(best),
                "best_prompt.md": network_page("The best network", best),
                "predictions.json": to_json(event["predictions"]),
            }
        case "failed":
            return {"failure.txt": f"{event['error']}\n\n{event['traceback']}\n"}
        case _:
            return {}
