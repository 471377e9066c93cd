// Simulated providers and gateways as real processes on loopback, as `../stack.py` starts them.
//
// Per dialect there are a healthy provider (`up-…`), one whose faults a test chooses (`bad-…`) and one that refuses
// every connection (`dead-…`). Two gateways stand before them: an open one, and one that wants a key.

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const DIALECTS = { openai: "openai-chat", anthropic: "anthropic-messages", gemini: "gemini" };
export const UPSTREAMS = Object.keys(DIALECTS);
export const KEY = "sk-of-the-test";
// Model ids decide which rules the simulated provider holds a request to; see `../stack.py`.
export const SERVED = { openai: "gpt-4.1", anthropic: "claude-haiku-4-5", gemini: "gemini-3-flash" };
const PREFIXES = { openai: "/v1", anthropic: "/v1", gemini: "/v1beta" };
const START_LIMIT = 20_000;
const STOP_LIMIT = 10_000;

const isUnwanted = (name) => /(_PROXY|_API_KEY|_BASE_URL|_AUTH_TOKEN)$/i.test(name);
for (const name of Object.keys(process.env)) {
  if (isUnwanted(name)) delete process.env[name];
}

async function freePort() {
  const listener = createServer();
  await new Promise((resolve, reject) => listener.once("error", reject).listen(0, "127.0.0.1", resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

async function fetchJson(url, body) {
  const headers = { "content-type": "application/json" };
  const options = body && { method: "POST", body: JSON.stringify(body), headers };
  const response = await fetch(url, { ...options, signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** One process of the binary, ready when its probe answers. */
class Process {
  constructor(folder, name, url, command, probe) {
    Object.assign(this, { name, url, probe: url + probe, log: join(folder, `${name}.log`) });
    const binary = process.env.MAINSTAY_BIN;
    if (!binary) throw new Error("set MAINSTAY_BIN to the binary under test");
    const log = openSync(this.log, "w");
    const options = ["--listen", url.replace("http://", "")];
    this.child = spawn(binary, [...command, ...options], { cwd: folder, stdio: ["ignore", log, log] });
    closeSync(log);
    this.isEnded = false;
    this.ended = new Promise((resolve) => this.child.once("exit", resolve).once("error", resolve));
    this.ended.then(() => (this.isEnded = true));
  }

  async untilReady() {
    const until = Date.now() + START_LIMIT;
    while (Date.now() < until && !this.isEnded) {
      try {
        await fetchJson(this.probe);
        return;
      } catch {
        await sleep(20);
      }
    }
    throw new Error(`${this.name} did not start; it said:\n${readFileSync(this.log, "utf8")}`);
  }

  async stop() {
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), STOP_LIMIT);
    await this.ended;
    clearTimeout(timer);
  }
}

class Stack {
  processes = [];
  up = {};
  bad = {};

  async start() {
    this.folder = mkdtempSync(join(tmpdir(), "mainstay-sdk-"));
    try {
      for (const upstream of UPSTREAMS) {
        this.up[upstream] = await this.provider(`up-${upstream}`, upstream);
        this.bad[upstream] = await this.provider(`bad-${upstream}`, upstream);
      }
      // A port that only an administrator could open, and nobody does.
      const dead = "http://127.0.0.1:1";
      const configuration = this.configuration(dead);
      this.open = await this.gateway("open", configuration);
      this.keyed = await this.gateway("keyed", { ...configuration, keys: [{ name: "test", key: KEY }] });
      await Promise.all(this.processes.map((process) => process.untilReady()));
    } catch (error) {
      await this.stop();
      throw error;
    }
    return this;
  }

  async stop() {
    await Promise.all(this.processes.map((process) => process.stop()));
    rmSync(this.folder, { recursive: true, force: true });
  }

  async launch(name, command, probe) {
    const process = new Process(this.folder, name, `http://127.0.0.1:${await freePort()}`, command, probe);
    this.processes.push(process);
    return process;
  }

  provider(name, upstream) {
    return this.launch(name, ["simulate", "--dialect", DIALECTS[upstream]], "/__sim/journal");
  }

  gateway(name, configuration) {
    const file = join(this.folder, `${name}.yaml`);
    // JSON is YAML.
    writeFileSync(file, JSON.stringify(configuration, null, 2));
    return this.launch(name, ["serve", "--config", file], "/health/ready");
  }

  configuration(dead) {
    const providers = {};
    const models = {};
    for (const upstream of UPSTREAMS) {
      const urls = { up: this.up[upstream].url, bad: this.bad[upstream].url, dead };
      for (const [kind, url] of Object.entries(urls)) {
        const base_url = url + PREFIXES[upstream];
        providers[`${kind}-${upstream}`] = { dialect: DIALECTS[upstream], base_url, keys: ["sim"] };
      }
      models[`via-${upstream}`] = { targets: [`up-${upstream}/${SERVED[upstream]}`] };
      for (const fallback of UPSTREAMS) {
        for (const kind of ["bad", "dead"]) {
          const targets = [`${kind}-${upstream}/${SERVED[upstream]}`, `up-${fallback}/${SERVED[fallback]}`];
          models[`${kind}-${upstream}-then-${fallback}`] = { targets };
        }
      }
    }
    // Each test is to see the fault it asked for, not the rest that earlier ones earned their target.
    const health = { consecutive: 1_000_000, min_samples: 1_000_000 };
    return { providers, models, health, drain: "1s", drain_accept: "0s" };
  }

  async setFaults(upstream, ...faults) {
    await fetchJson(`${this.bad[upstream].url}/__sim/faults`, faults);
  }

  /** Runs `body` with a model that has these faults and that no other test has touched. */
  async whileBroken(upstream, fault, body) {
    await this.setFaults(upstream, fault);
    try {
      return await body(`bad-${upstream}/${randomUUID()}`);
    } finally {
      await this.setFaults(upstream);
    }
  }

  /** Runs `body` with a model whose first target breaks off so, once, and whose second says the same. */
  async whileBreaking(primary, fallback, fault, answer, body) {
    const [first, second] = [this.bad[primary].url, this.up[fallback].url];
    const behave = (url, behaviour) => fetchJson(`${url}/__sim/behaviour`, behaviour);
    const journal = () => fetchJson(`${first}/__sim/journal`);
    try {
      // At this pace the first words have been passed on when the break comes.
      await behave(first, { answer, pace: { first_token: "0s", interval: "1ms" }, faults: [{ fault }] });
      await behave(second, { answer, pace: { first_token: "0s", interval: "0s" } });
      const earlier = (await journal()).length;
      const heard = await body(`bad-${primary}-then-${fallback}`);
      const made = (await journal()).slice(earlier).map((entry) => entry.faults);
      if (made.length !== 1 || made[0][0] !== fault) throw new Error(`the first target: ${JSON.stringify(made)}`);
      return heard;
    } finally {
      await behave(first, {});
      await behave(second, {});
    }
  }

  /** How many calls named this model. */
  async calls(upstream, model) {
    const journal = await fetchJson(`${this.bad[upstream].url}/__sim/journal`);
    return journal.filter((entry) => entry.model === model.slice(model.indexOf("/") + 1)).length;
  }
}

export const startStack = () => new Stack().start();
