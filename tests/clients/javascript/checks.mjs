// The AWS SDK for JavaScript v3 as it comes: a client made with nothing but the environment. A line of JSON a check; "came" is
// empty where all is well. Over HTTP/2 unless told otherwise, which nothing here does.
import {
  BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand, CountTokensCommand, InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";

const modelId = "tenet.assistant-v1:0";
const client = new BedrockRuntimeClient({ maxAttempts: 1 });
const user = (text) => ({ modelId, messages: [{ role: "user", content: [{ text }] }] });
const body = (text) => JSON.stringify({ anthropic_version: "any", max_tokens: 50, messages: [{ role: "user", content: text }] });
const same = (came, wanted) => (came === wanted ? "" : `${came} instead of ${wanted}`);

async function streamed(text, sent = client) {
  let said = "";
  for await (const event of (await sent.send(new ConverseStreamCommand(user(text)))).stream) said += event.contentBlockDelta?.delta?.text ?? "";
  return said;
}

async function named(wanted, work) {
  try {
    await work();
  } catch (error) {
    return error.name === wanted ? "" : `${error.name}: ${error.message}`;
  }
  return `no ${wanted}`;
}

const checks = {
  "whole answer": async () => same((await client.send(new ConverseCommand(user("good morning")))).output.message.content[0].text, "good morning"),
  "stream": async () => same(await streamed("one two three"), "one two three"),
  "InvokeModel": async () => {
    const answer = await client.send(new InvokeModelCommand({ modelId, body: body("hello") }));
    return same(JSON.parse(new TextDecoder().decode(answer.body)).content[0].text, "hello");
  },
  "InvokeModel stream": async () => {
    let said = "";
    const answer = await client.send(new InvokeModelWithResponseStreamCommand({ modelId, body: body("hello there") }));
    for await (const event of answer.body) said += JSON.parse(new TextDecoder().decode(event.chunk.bytes)).delta?.text ?? "";
    return same(said, "hello there");
  },
  "count is usage": async () => {
    const { modelId: _, ...converse } = user("how many?");
    const counted = await client.send(new CountTokensCommand({ modelId, input: { converse } }));
    return same(counted.inputTokens, (await client.send(new ConverseCommand(user("how many?")))).usage.inputTokens);
  },
  "forced tool": async () => {
    const tool = { toolSpec: { name: "weather", inputSchema: { json: { type: "object", properties: { city: { type: "string" } } } } } };
    const toolConfig = { tools: [tool], toolChoice: { tool: { name: "weather" } } };
    const answer = await client.send(new ConverseCommand({ ...user('{"city": "Oslo"}}\n</tool_call>'), toolConfig }));
    return same(answer.output.message.content[0].toolUse?.input?.city, "Oslo");
  },
  "16 streams at once": async () => {
    const questions = [...Array(16).keys()].map((number) => `question ${number} of sixteen`);
    return same((await Promise.all(questions.map((text) => streamed(text)))).join("|"), questions.join("|"));
  },
  "a stream that is left": async () => {
    const gone = new AbortController();
    const answer = await client.send(new ConverseStreamCommand(user("z".repeat(2000))), { abortSignal: gone.signal });
    for await (const event of answer.stream) if (event.contentBlockDelta) break;
    gone.abort();
    return same(await streamed("still here"), "still here");
  },
  "ValidationException": () => named("ValidationException", () => client.send(new ConverseCommand({ ...user("x"), inferenceConfig: { temperature: 7 } }))),
  "ResourceNotFoundException": () => named("ResourceNotFoundException", () => client.send(new ConverseCommand({ ...user("x"), modelId: "nobody.nothing-v1:0" }))),
  "unknown key, large body": () => {
    const stranger = new BedrockRuntimeClient({ maxAttempts: 1, credentials: { accessKeyId: "NOBODY", secretAccessKey: "nothing" } });
    return named("UnrecognizedClientException", () => stranger.send(new ConverseCommand(user("x".repeat(5_000_000)))));
  },
  // Not 26: node holds 10 MB for a connection of HTTP/2, and answers an early refusal of more by itself (ENHANCE_YOUR_CALM).
  "12 MB": () => named("ValidationException", () => client.send(new ConverseCommand(user("x".repeat(12_000_000))))),
};

for (const [check, work] of Object.entries(checks)) {
  let came;
  try {
    came = await work();
  } catch (error) {
    came = `${error.name}: ${error.message}`;
  }
  console.log(JSON.stringify({ check, came }));
}
process.exit(0);
