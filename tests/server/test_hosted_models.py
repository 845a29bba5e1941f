"""With a key, the real models answer and embed, through the same graph."""

from pathlib import Path

from tests.support.chat import facts, says, talk
from tests.support.openai_stub import ANSWER, OpenAIStub
from tests.support.server import Server


async def test_a_key_switches_to_the_hosted_models(project: Path) -> None:
    with OpenAIStub() as openai:
        server = Server(project, {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": openai.url}).start()
        try:
            client = server.client()
            assert (await talk(client, "My budget is 80k.")).strip() == ANSWER
            assert await facts(client) == ["My budget is 80k."]
            thread_id = (await client.threads.create())["thread_id"]
            tokens = [
                part.data[0]["content"]
                async for part in client.runs.stream(
                    thread_id, "assistant", input=says("My budget is 80k."), stream_mode="messages-tuple"
                )
                if part.event.startswith("messages")
            ]
        finally:
            server.stop()

    assert "".join(tokens).strip() == ANSWER
    assert len(tokens) >= len(ANSWER.split())
    embedded = openai.asked("/embeddings")
    assert {(body["model"], body["dimensions"]) for body in embedded} == {("text-embedding-3-large", 1536)}
    prompts = [message["content"] for body in openai.asked("/chat/completions") for message in body["messages"]]
    assert any("earlier conversations" in prompt and "My budget is 80k." in prompt for prompt in prompts)
    assert "BlockingError" not in server.log.read_text()
    assert "sk-test" not in server.log.read_text()
