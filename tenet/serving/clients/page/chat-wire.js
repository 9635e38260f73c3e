// What the page asks of the endpoint it came from: is it ready, which models are there, and a streamed answer.

const bearer = (key) => ({ authorization: `Bearer ${key}` });

// Weights take a while to load; nothing can be asked before their name is known. `tell` hears what it waits for.
export async function whenReady(tell) {
  for (;;) {
    let state;
    try { state = await (await fetch("readyz")).json(); } catch { state = { message: "The endpoint does not answer." }; }
    if (state.model) return state.model;
    tell(state.message);
    await new Promise((again) => setTimeout(again, 1000));
  }
}

// Names of the models that import jobs added to the first one; none where the key is not known (yet).
export async function importedModels(key) {
  if (!key) return [];
  try {
    const response = await fetch("imported-models", { headers: bearer(key) });
    return response.ok ? (await response.json()).modelSummaries.map((one) => one.modelName) : [];
  } catch { return []; }
}

// Events of an answer, parsed. Throws with the endpoint's own words where it refuses.
export async function* answer(key, body, signal) {
  const headers = { "content-type": "application/json", "anthropic-version": "2023-06-01", ...bearer(key) };
  const response = await fetch("anthropic/v1/messages", { method: "POST", signal, headers, body: JSON.stringify({ ...body, stream: true }) });
  if (!response.ok) throw new Error((await response.json()).error.message);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value; // a piece from the network may end anywhere
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      const data = buffer.slice(0, end).split("\n").find((line) => line.startsWith("data: "));
      buffer = buffer.slice(end + 2);
      if (!data) continue;
      const event = JSON.parse(data.slice(6));
      if (event.type === "error") throw new Error(`${event.error.type}: ${event.error.message}`);
      yield event;
    }
  }
}
