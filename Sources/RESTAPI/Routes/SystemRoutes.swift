import Hummingbird
import Telemetry

/// Probes, metrics and the document about all this.
enum SystemRoutes {
  static let all: [Route] = [
    Route(
      .get, "/healthz", "health", tag: "system", "Alive: 200 whenever the process answers.", access: .open,
      answer: .text(contentType: "text/plain; charset=utf-8")
    ) { _, _ in
      Reply(.text("ok\n", contentType: "text/plain; charset=utf-8"))
    },
    Route(
      .get, "/readyz", "readiness", tag: "system", "Ready: 503 while the database cannot be reached.", access: .open,
      answer: .text(contentType: "text/plain; charset=utf-8"), errors: [.databaseUnavailable]
    ) { _, services in
      try await services.store.ping(timeout: .seconds(2))
      return Reply(.text("ready\n", contentType: "text/plain; charset=utf-8"))
    },
    Route(
      .get, "/metrics", "metrics", tag: "system", "Metrics in Prometheus' text format.", access: .open,
      answer: .text(contentType: Exposition.contentType)
    ) { _, services in
      let text = String(decoding: await services.registry.render(), as: UTF8.self)
      return Reply(.text(text, contentType: Exposition.contentType))
    },
    Route(
      .get, "/.well-known/jwks.json", "publicKeys", tag: "system",
      "The public keys of access tokens, as a JSON Web Key Set (RFC 7517). Empty where a shared secret signs them.",
      access: .open, answer: .document
    ) { _, services in
      Reply(
        .text(try services.tokens.publicKeysText(), contentType: Envelope.jsonType),
        headers: [.cacheControl: "public, max-age=300"])
    },
    Route(
      .get, RouteTable.base + "/openapi.json", "openapi", tag: "system", "This API as an OpenAPI 3.1 document.",
      access: .open, answer: .document
    ) { _, services in
      Reply(.text(services.openAPIText, contentType: Envelope.jsonType))
    },
    Route(
      .get, RouteTable.base + "/docs", "reference", tag: "system", "The same document as a page to read.",
      access: .open, answer: .text(contentType: ReferencePage.contentType)
    ) { _, _ in
      Reply(
        .text(ReferencePage.html, contentType: ReferencePage.contentType),
        headers: [.contentSecurityPolicy: ReferencePage.policy])
    },
  ]
}
