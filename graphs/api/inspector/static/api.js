// A client of the memory's HTTP API. The token is kept until the tab closes, and is sent only to
// this origin.

const MEMORY = new URL("..", import.meta.url); // …/memory/, wherever the server is mounted
const SERVER = new URL("..", MEMORY);
const TOKEN = "memory-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

/** An error with the server's message; `status` is 0 if the server did not answer. */
class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Send a request and return `{body, etag}`. An aborted request rejects with an AbortError. */
async function ask(base, path, { method = "GET", query = {}, body, etag, signal } = {}) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query))
    for (const one of [value].flat())
      if (one !== undefined && one !== null && one !== "") url.searchParams.append(name, one);
  const headers = { Accept: "application/json" };
  if (body) headers["Content-Type"] = "application/json";
  if (etag) headers["If-Match"] = etag;
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  let response;
  try {
    response = await fetch(url, { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ApiError(0, "The server does not answer. Check that it runs, then try again.");
  }
  const text = await response.text();
  const found = /json/.test(response.headers.get("Content-Type") ?? "") && text ? JSON.parse(text) : null;
  if (!response.ok) throw new ApiError(response.status, sentence(found) ?? `The server answered with status ${response.status}.`);
  return { body: found, etag: response.headers.get("ETag") };
}

function sentence(problem) {
  const said = problem?.detail ?? problem?.title;
  return typeof said === "string" ? said : undefined;
}

const one = (id) => `memories/${encodeURIComponent(id)}`;

export const api = {
  get: async (path, options) => (await ask(MEMORY, path, options)).body,
  memory: (id, options) => ask(MEMORY, one(id), options),
  about: (id, what, options) => api.get(`${one(id)}/${what}`, options),
  revise: (id, etag, change) => ask(MEMORY, one(id), { method: "PATCH", etag, body: change }),
  forget: (id, etag, forGood) => ask(MEMORY, `${one(id)}?for_good=${forGood}`, { method: "DELETE", etag }),
  post: async (path, query) => (await ask(MEMORY, path, { method: "POST", query })).body,
  thread: async (id, options) => (await ask(SERVER, `threads/${encodeURIComponent(id)}`, options)).body,
};
