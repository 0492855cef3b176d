// The native API, /v1, as an app server (public port, key) or an operator (internal port, admin token) calls it.

/** An answer that was no success, with the status and the parsed body. */
export class ApiError extends Error {
  constructor(status, body, call) {
    super(`${call} -> ${status} ${JSON.stringify(body)}`);
    this.status = status;
    this.body = body;
    this.code = body?.error?.code;
  }
}

export class Native {
  constructor(url, credential) {
    this.url = url;
    this.credential = credential;
  }

  /** As an app server: limited to the key's app. */
  static appServer(url, app) {
    return new Native(url, `${app.key}:${app.secret}`);
  }

  async call(method, path, body, headers = {}) {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        authorization: `Bearer ${this.credential}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(20_000),
    });
    const text = await response.text();
    let parsed = text;
    try {
      parsed = text === '' ? null : JSON.parse(text);
    } catch {
      // A body that is not JSON is kept as text: the caller's assertion shows it.
    }
    if (!response.ok) throw new ApiError(response.status, parsed, `${method} ${path}`);
    return parsed;
  }

  createApp(spec) {
    return this.call('POST', '/v1/apps', spec);
  }
  patchApp(app, change) {
    return this.call('PATCH', `/v1/apps/${app}`, change);
  }
  /** Adds to what the subject may do. */
  grant(app, subject, grants) {
    return this.call('POST', `/v1/apps/${app}/grants`, { subject, grants });
  }
  /** Replaces what the subject may do. */
  replaceGrants(app, subject, grants) {
    return this.call('PUT', `/v1/apps/${app}/grants`, { subject, grants });
  }
  deleteGrants(app, subject, patterns) {
    return this.call('DELETE', `/v1/apps/${app}/grants`, { subject, ...(patterns ? { patterns } : {}) });
  }
  grantsOf(app, user) {
    return this.call('GET', `/v1/apps/${app}/grants?user=${encodeURIComponent(user)}`);
  }
  explain(app, question) {
    return this.call('POST', `/v1/apps/${app}/explain`, question);
  }
  disconnect(app, user, body = {}) {
    return this.call('POST', `/v1/apps/${app}/users/${encodeURIComponent(user)}/disconnect`, body);
  }
  block(app, user, body = {}) {
    return this.call('POST', `/v1/apps/${app}/users/${encodeURIComponent(user)}/block`, body);
  }
  unblock(app, user) {
    return this.call('DELETE', `/v1/apps/${app}/users/${encodeURIComponent(user)}/block`);
  }
  connections(app, user) {
    return this.call('GET', `/v1/apps/${app}/connections${user ? `?user=${encodeURIComponent(user)}` : ''}`);
  }
  cluster() {
    return this.call('GET', '/v1/cluster');
  }
}
