import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// Who is told of events by HTTP.
enum WebhookRoutes {
  private static let base = RouteTable.base + "/webhooks"
  private static let tag = "webhooks"
  private static let kind = "webhook"

  static let all: [Route] = [
    Route(
      .get, base, "listWebhooks", tag: tag, "All webhooks, by name.", access: .scope(.webhooksRead),
      answer: .page(webhook, by: .webhooks)
    ) { call, services in
      let page = call.page
      return .page(try await services.store.webhooks(page), page, json)
    },
    Route(
      .post, base, "createWebhook", tag: tag,
      "Tell a URL of events from now on: each by a POST, in their order, with the header Sluice-Signature: t=…,v1=…, where v1 "
        + "is the HMAC-SHA256 of `t.body` by the secret. Needs events:read, too, and for events about credentials what reading "
        + "them takes. The answer shows the secret, and nothing does "
        + "ever again.",
      access: .scope(.webhooksWrite), body: newWebhook, example: example, answer: .created(shown), errors: [.conflict],
      handler: create),
    Route(
      .get, base + "/{id}", "getWebhook", tag: tag, "One webhook, and how telling it goes.",
      access: .scope(.webhooksRead), answer: .data(webhook)
    ) { call, services in
      let stored = try await services.store.webhook(id: try call.identifier("id", of: kind))
      return Reply.data(json(stored)).tagged(content(stored))
    },
    Route(
      .patch, base + "/{id}", "updateWebhook", tag: tag,
      "Change a webhook. Made active again, or sent elsewhere, it is told of what happens from now on.",
      access: .scope(.webhooksWrite), body: newWebhook.partial(named: "WebhookPatch"), answer: .data(webhook),
      errors: [.conflict, .preconditionFailed], handler: update),
    Route(
      .delete, base + "/{id}", "deleteWebhook", tag: tag, "Delete a webhook.", access: .scope(.webhooksWrite),
      answer: .data(.object([.required("deleted", .boolean)])), errors: [.preconditionFailed]
    ) { call, services in
      try await services.store.deleteWebhook(
        id: try call.identifier("id", of: kind), if: try call.precondition { (stored: Webhook) in content(stored) })
      return .data(["deleted": true])
    },
    Route(
      .post, base + "/{id}/secret", "replaceWebhookSecret", tag: tag,
      "Make a new secret, which signs from now on. The answer shows it, and nothing does ever again.",
      access: .scope(.webhooksWrite), answer: .data(shown)
    ) { call, services in
      let id = try call.identifier("id", of: kind)
      let secret = makeSecret()
      var change = WebhookChange()
      change.sealedSecret = try sealed(secret, of: id, services)
      return .data(json(try await services.store.updateWebhook(id: id, change, if: { _ in }), secret: secret))
    },
    Route(
      .post, base + "/{id}/test", "testWebhook", tag: tag,
      "Send an event of the type ping now, once, and say what came of it. Where it arrives, events that wait are sent at once.",
      access: .scope(.webhooksWrite), answer: .data(delivery)
    ) { call, services in
      let stored = try await services.store.webhook(id: try call.identifier("id", of: kind))
      return .data(json(try await services.webhooks.test(stored)))
    },
    Route(
      .get, base + "/{id}/deliveries", "listWebhookDeliveries", tag: tag,
      "The last \(Webhook.deliveriesMax) attempts to tell of an event, newest first.", access: .scope(.webhooksRead),
      answer: .page(delivery, by: .deliveries)
    ) { call, services in
      let page = call.page
      return .page(
        try await services.store.webhookDeliveries(ofWebhook: try call.identifier("id", of: kind), page), page, json)
    },
  ]

  // MARK: Shapes

  private static let word = Schema.string(
    StringShape(bytes: 1...64, pattern: "^[a-z_]{1,64}$") { text in
      text.utf8.allSatisfy { (0x61...0x7a).contains($0) || $0 == 0x5f } ? nil : "may have a-z and _"
    })

  private static let newWebhook = Schema.named(
    "NewWebhook",
    .object([
      .required("name", Shapes.name),
      .required(
        // A path may be as good as a password: the audit log's refusals leave it out.
        "url", .string(StringShape(bytes: 1...WebhookTarget.urlBytesMax, format: "uri", isSecret: true)),
        "https, and no address of this machine or its network, unless the settings allow it"),
      .optional("types", .array(word, max: 32), default: [], "Of the events; empty: all that daemons tell. Those about credentials are to be named"),
      .optional("is_active", .boolean, default: true),
      .optional(
        "secret", .nullable(.string(StringShape(bytes: 16...256, format: "password", isSecret: true))),
        "What signs; absent: one is made"),
    ]))

  private static let example: JSONValue = [
    "name": "pager", "url": "https://hooks.example.org/sluice?team=edge",
    "types": ["refused", "rolled_back", "attach_lost"],
  ]

  private static let fields: [Field] = [
    .required("id", Shapes.uuid), .required("name", .string()), .required("url", .string()),
    .required("types", .array(.string(), max: Int.max)), .required("is_active", .boolean),
    .required(
      "circuit", .words(WebhookCircuit.allCases.map(\.rawValue)),
      "open: left alone after \(Webhook.circuitFailures) failures in a row or more; half_open: a single event is tried"),
    .required("failures", .count, "Attempts that failed since one that didn't"),
    .required("next_attempt_at", .nullable(.timestamp), "null: none failed"),
    .required("last_event", .count, "Done with up to this event"),
    .required("delivered", .count, "Events that it was told of"),
    .required("abandoned", .count, "Events that were given up after a day of failures"),
    .required("last_delivered_at", .nullable(.timestamp)), .required("created_by", Shapes.author),
    .required("created_at", .timestamp), .required("updated_at", .timestamp),
  ]

  private static let webhook = Schema.named("Webhook", .object(fields))
  private static let shown = Schema.named(
    "ShownWebhook", .object(fields + [.required("secret", .string(), "The secret itself, this once")]))

  private static let delivery = Schema.named(
    "WebhookDelivery",
    .object([
      .required("event_id", .count, "0: a test"), .required("event_type", .string()), .required("attempt", .count, "From 1"),
      .required("result", .words(WebhookDelivery.Result.allCases.map(\.rawValue))),
      .required("status", .nullable(.count), "Of the receiver's answer"), .required("error", .string()),
      .required("duration_ms", .count), .required("at", .timestamp),
    ]))

  /// What an editor sees and changes: its `ETag`.
  private static func content(_ webhook: Webhook) -> JSONValue {
    [
      "name": .string(webhook.name), "url": .string(webhook.url), "types": .strings(webhook.kinds),
      "is_active": .bool(webhook.isActive), "secret": .string(webhook.sealedSecret),
    ]
  }

  private static func json(_ webhook: Webhook) -> JSONValue { json(webhook, secret: nil) }

  private static func json(_ webhook: Webhook, secret: String?) -> JSONValue {
    var members: [String: JSONValue] = [
      "id": .string(webhook.id.uuidString.lowercased()), "name": .string(webhook.name), "url": .string(webhook.url),
      "types": .strings(webhook.kinds), "is_active": .bool(webhook.isActive),
      "circuit": .string(webhook.circuit(at: Date()).rawValue),
      "failures": .count(webhook.failures),
      "next_attempt_at": webhook.failures == 0 ? .null : .time(webhook.nextAttemptAt),
      "last_event": .count(webhook.lastEvent), "delivered": .count(webhook.deliveredCount),
      "abandoned": .count(webhook.abandonedCount),
      "last_delivered_at": webhook.lastDeliveredAt.map { .time($0) } ?? .null,
      "created_by": [
        "user_id": .optional(webhook.createdBy.userID?.uuidString.lowercased()),
        "email": .string(webhook.createdBy.email),
      ], "created_at": .time(webhook.createdAt), "updated_at": .time(webhook.updatedAt),
    ]
    if let secret { members["secret"] = .string(secret) }
    return .object(members)
  }

  private static func json(_ delivery: WebhookDelivery) -> JSONValue {
    [
      "event_id": .count(delivery.eventID), "event_type": .string(delivery.eventKind),
      "attempt": .count(delivery.attempt), "result": .string(delivery.result.rawValue),
      "status": delivery.status.map { .count($0) } ?? .null, "error": .string(delivery.error),
      "duration_ms": .count(delivery.milliseconds), "at": .time(delivery.at),
    ]
  }

  // MARK: Handlers

  private static func makeSecret() -> String {
    "whsec_" + SecureRandom.bytes(count: 32).hexadecimal
  }

  private static func sealed(_ secret: String, of id: UUID, _ services: Services) throws -> String {
    try services.sealer.seal(Array(secret.utf8), for: Webhook.sealingPurpose(of: id))
  }

  private static func check(url: String, _ services: Services) throws {
    if let fault = WebhookTarget.fault(of: url, in: services.webhooks.settings.networks) {
      throw APIError.validation("url", "not_allowed", fault)
    }
  }

  /// A webhook is told of every event of these types: nobody has one told of what he may not read himself.
  private static func checkMayRead(_ kinds: [String], _ caller: Principal) throws {
    try Authorizer.checkScope(.eventsRead, .everything, caller)
    if !CredentialEventKinds.ofAccounts.isDisjoint(with: kinds) {
      try Authorizer.checkScope(.usersRead, .everything, caller)
    }
    if !CredentialEventKinds.ofClients.isDisjoint(with: kinds) {
      try Authorizer.checkScope(.clientsRead, .everything, caller)
    }
  }

  @Sendable private static func create(_ call: Call, _ services: Services) async throws -> Reply {
    try checkMayRead(call.body.texts("types"), call.caller())
    let url = try call.body.text("url")
    try check(url: url, services)
    let id = UUID()
    let secret = call.body.present("secret")?.string ?? makeSecret()
    let made = try await services.store.createWebhook(
      NewWebhook(
        id: id, name: try call.body.text("name"), url: url, sealedSecret: try sealed(secret, of: id, services),
        kinds: call.body.texts("types"), isActive: call.body["is_active"]?.bool ?? true, createdBy: try call.author()))
    return Reply.created(json(made, secret: secret), at: "\(base)/\(id.uuidString.lowercased())").tagged(content(made))
  }

  @Sendable private static func update(_ call: Call, _ services: Services) async throws -> Reply {
    let id = try call.identifier("id", of: kind)
    var change = WebhookChange()
    change.name = call.body["name"]?.string
    change.url = call.body["url"]?.string
    if let url = change.url { try check(url: url, services) }
    change.kinds = call.body["types"] == nil ? nil : call.body.texts("types")
    change.isActive = call.body["is_active"]?.bool
    change.sealedSecret = try call.body.present("secret")?.string.map { try sealed($0, of: id, services) }
    let precondition = try call.precondition { (stored: Webhook) in content(stored) }
    let caller = try call.caller()
    let new = try await services.store.updateWebhook(id: id, change) { [change] stored in
      try precondition(stored)
      guard change.url != nil || change.kinds != nil || change.isActive == true else { return }
      try checkMayRead(change.kinds ?? stored.kinds, caller)
    }
    services.webhooks.wake()
    return Reply.data(json(new)).tagged(content(new))
  }
}
