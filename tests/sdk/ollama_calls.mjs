// Every call of Ollama's JavaScript client against the server at argv[2]; prints what came back as JSON.
// usage: node ollama_calls.mjs URL MODEL CODER, with ollama in NODE_MODULES

import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES + "/");
const { Ollama } = require("ollama");
const { Ollama: Browser } = require("ollama/browser");

const [url, model, coder] = process.argv.slice(2);
const client = new Ollama({ host: url });
const options = { temperature: 0, num_predict: 16 };
const messages = [{ role: "user", content: "What is the capital of France? Answer in one word." }];
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "Current weather of a city",
      parameters: { type: "object", required: ["city"], properties: { city: { type: "string" } } },
    },
  },
];

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

async function refused(work) {
  try {
    await work();
  } catch (error) {
    return { name: error.name, message: error.message, status: error.status_code };
  }
  return null;
}

async function aborted() {
  const stream = await client.chat({
    model, messages: [{ role: "user", content: "Count to a thousand." }], stream: true, options: { num_predict: 400 },
  });
  setTimeout(() => stream.abort(), 20);
  return refused(() => all(stream));
}

const calls = {
  version: () => client.version(),
  list: () => client.list(),
  show: () => client.show({ model: coder }),
  chat: () => client.chat({ model: coder, messages, options }),
  chat_stream: async () => all(await client.chat({ model: coder, messages, options, stream: true })),
  chat_logprobs: () => client.chat({ model: coder, messages, options, logprobs: true, top_logprobs: 2 }),
  chat_schema: () => client.chat({ model: coder, messages, options: { ...options, num_predict: 40 }, format: schema }),
  chat_tools: () =>
    client.chat({
      model: coder, tools, options: { ...options, num_predict: 60 },
      messages: [{ role: "user", content: "What is the weather in Paris? Use the tool." }],
    }),
  generate: () => client.generate({ model: coder, prompt: messages[0].content, options }),
  generate_stream: async () =>
    all(await client.generate({ model: coder, prompt: "Hello", options, stream: true })),
  generate_raw: () => client.generate({ model: coder, prompt: "The capital of France is", raw: true, options }),
  fill_in: () => client.generate({ model: coder, prompt: "def add(a, b):\n    return ", suffix: "\n", options }),
  embed: () => client.embed({ model, input: ["a cat", "a kitten"] }),
  embeddings: () => client.embeddings({ model, prompt: "a cat" }),
  ps: () => client.ps(),
  create: () => client.create({ model: "made-by-js", from: model, system: "Be brief." }),
  create_stream: async () =>
    all(await client.create({ model: "made-by-js", from: model, parameters: { top_k: 3 }, stream: true })),
  copy: () => client.copy({ source: "made-by-js", destination: "copied-by-js" }),
  pull: () => client.pull({ model }),
  pull_stream: async () => all(await client.pull({ model, stream: true })),
  shown: () => client.show({ model: "copied-by-js" }),
  delete: async () => [
    await client.delete({ model: "made-by-js" }),
    await client.delete({ model: "copied-by-js" }),
  ],
  unknown: () => refused(() => client.chat({ model: "nope", messages })),
  no_thinking: () => refused(() => client.chat({ model: coder, messages, think: true })),
  unload: () => client.generate({ model, prompt: "", keep_alive: 0 }),
  browser: () => new Browser({ host: url }).chat({ model: coder, messages, options }),
  aborted,
};

const results = {};
for (const [name, call] of Object.entries(calls)) {
  try {
    results[name] = await call();
  } catch (error) {
    results[name] = { failed: String(error) };
  }
}
process.stdout.write(JSON.stringify(results));
