// Vercel's AI SDK as it comes, by three of its providers: Amazon Bedrock (Converse, signed), OpenAI-compatible (Chat
// Completions) and Anthropic (Messages), each made with nothing but the environment. A line of JSON a check; "came" is empty
// where all is well.
import { createAmazonBedrock } from "@ai-sdk/amazon-bedrock";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";

globalThis.AI_SDK_LOG_WARNINGS = false; // about ids that it does not know
const url = process.env.AWS_ENDPOINT_URL_BEDROCK_RUNTIME;
const apiKey = process.env.API_KEY;
const openai = createOpenAICompatible({ name: "tenet", baseURL: `${url}/openai/v1`, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const PROVIDERS = {
  Bedrock: createAmazonBedrock({ baseURL: url }),
  OpenAI: openai,
  Anthropic: createAnthropic({ baseURL: `${url}/anthropic/v1`, apiKey }),
};
const ID = "tenet.assistant-v1:0";
const town = jsonSchema({ type: "object", properties: { city: { type: "string", enum: ["Oslo", "Bergen"] } }, required: ["city"], additionalProperties: false });
const same = (came, wanted) => (came === wanted ? "" : `${came} instead of ${wanted}`);

function checksOf(provider) {
  const call = (prompt, more = {}) => ({ model: provider(ID), prompt, maxRetries: 0, maxOutputTokens: 160, ...more });
  const weather = tool({ description: "Weather of a city.", inputSchema: town, execute: async () => "4 degrees" });
  return {
    "whole answer": async () => same((await generateText(call("good morning"))).text, "good morning"),
    "stream": async () => {
      const pieces = [];
      const stream = streamText(call("one two three"));
      for await (const piece of stream.textStream) pieces.push(piece);
      const counted = (await stream.usage).outputTokens === (await generateText(call("one two three"))).usage.outputTokens;
      return same(`${pieces.join("")} ${pieces.length > 1} ${counted}`, "one two three true true");
    },
    "forced tool": async () => {
      const made = await generateText(call('{"city": "Oslo"}}\n</tool_call>', { tools: { weather }, toolChoice: { type: "tool", toolName: "weather" } }));
      return same(made.toolCalls[0]?.input?.city, "Oslo");
    },
    "loop of tools": async () => {
      const asked = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
      return same((await generateText(call(asked, { tools: { weather }, stopWhen: stepCountIs(3) }))).text, "4 degrees");
    },
    "JSON output": async () => {
      // Of models that they do not know, two providers want JSON by a tool of their own, of which the echo engine is told the rest.
      const prompt = provider === openai ? '{"city": "Oslo"}' : 'json", "arguments": {"city": "Oslo"}}\n</tool_call>';
      return same((await generateText(call(prompt, { output: Output.object({ schema: town }) }))).output?.city, "Oslo");
    },
    "stop sequences": async () => same((await generateText(call("one END two", { stopSequences: ["END"] }))).text.trim(), "one"),
    "unknown model": async () => {
      try {
        await generateText({ ...call("x"), model: provider("nobody.nothing-v1:0") });
      } catch (error) {
        return same(`${error.name} ${error.statusCode}`, "AI_APICallError 404");
      }
      return "no error";
    },
    "a stream that is left": async () => {
      const gone = new AbortController();
      const stream = streamText(call("z".repeat(500), { abortSignal: gone.signal, maxOutputTokens: 600, onError: () => {} }));
      for await (const _ of stream.textStream) { gone.abort(); break; }
      return same((await generateText(call("still here"))).text, "still here");
    },
  };
}

for (const [name, provider] of Object.entries(PROVIDERS)) {
  for (const [check, work] of Object.entries(checksOf(provider))) {
    let came;
    try {
      came = await work();
    } catch (error) {
      came = `${error.name}: ${error.message}`;
    }
    console.log(JSON.stringify({ check: `${check} (${name})`, came }));
  }
}
process.exit(0);
