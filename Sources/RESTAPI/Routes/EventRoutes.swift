import ControlProtocol
import Foundation
import Hummingbird
import NIOCore
import Storage

/// What happened in the daemons, and to credentials: as a list, and as a stream of server-sent events for whoever asks for
/// `text/event-stream`.
enum EventRoutes {
  static let base = RouteTable.base + "/events"
  static let streamType = "text/event-stream"

  static let all: [Route] = [
    Route(
      .get, base, "listEvents", tag: "events",
      "What happened in the daemons, and to the credentials of accounts (for users:read, and one's own) and API clients "
        + "(clients:read), newest first. With Accept: text/event-stream, a stream of what happens from now on, or "
        + "behind the event that Last-Event-ID (or after) names; it ends with the token, and is taken up again by Last-Event-ID.",
      access: .scope(.eventsRead), on: .anything,
      query: [
        .optional("type", types, "Separated by commas: applied, refused, rolled_back, rule_expired, …"),
        .optional("node", Shapes.name), .optional("interface", Shapes.interface), .optional("rule_set", Shapes.name),
        .optional("after", .integer(0...Int64.max), "Only events with a greater id; the oldest first"),
      ], answer: .page(event, by: .events), alsoStreams: true, handler: list)
  ]

  private static let typesMax = 32

  /// Daemons may have more of them than this version knows.
  private static let types = Schema.string(
    StringShape(bytes: 1...1024, pattern: "^[a-z_]{1,64}(,[a-z_]{1,64}){0,\(typesMax - 1)}$") { text in
      let words = text.split(separator: ",", omittingEmptySubsequences: false)
      let isPlain = words.allSatisfy { word in
        (1...64).contains(word.utf8.count) && word.utf8.allSatisfy { (0x61...0x7a).contains($0) || $0 == 0x5f }
      }
      return isPlain && words.count <= typesMax ? nil : "must be at most \(typesMax) words of a-z and _, with commas"
    })

  static let event = Schema.named(
    "Event",
    .object([
      .required("id", .count, "Grows; for Last-Event-ID"), .required("type", .string()),
      .required("node", .nullable(.string()), "null: about credentials, told by the API itself"),
      .required("interface", .nullable(.string())), .required("rule_set", .nullable(.string())),
      .required("message", .string()), .required("fields", .map(.string(), keys: nil)), .required("at", .timestamp),
      .required("sequence", .count, "The daemon's own number, since its start; of the API's own events the id"),
    ]))

  static func json(_ event: NodeEvent) -> JSONValue { json(event.event, id: event.id, node: event.node) }

  static func json(_ told: NewNodeEvent, id: UInt64, node: String?) -> JSONValue {
    [
      "id": .count(id), "type": .string(told.kind), "node": .optional(node),
      "interface": told.interface.isEmpty ? .null : .string(told.interface),
      "rule_set": told.fields["rule_set"].map { $0.isEmpty ? .null : .string($0) } ?? .null,
      "message": .string(told.message), "fields": .object(told.fields.mapValues(JSONValue.string)),
      "at": .time(told.happenedAt), "sequence": .count(told.position.sequence),
    ]
  }

  @Sendable private static func list(_ call: Call, _ services: Services) async throws -> Reply {
    var filter = EventFilter()
    filter.kinds = Set((call.query["type"]?.string ?? "").split(separator: ",").map(String.init))
    filter.node = call.query["node"]?.string
    filter.interface = call.query["interface"]?.string
    filter.ruleSet = call.query["rule_set"]?.string
    filter.after = call.query["after"]?.integer.map { UInt64($0) }
    // A list has no use for it, but says what is wrong with it all the same.
    let behind = try EventStream.lastEventID(call)
    if wantsStream(call.headers[.accept]) { return try await EventStream.start(filter, behind: behind, call, services) }
    filter.isAscending = filter.after != nil
    try await restrict(&filter, to: call.caller(), services)
    let page = call.page
    var reply = Reply.page(try await services.store.events(filter, page), page, json)
    reply.headers[.vary] = "Accept"
    return reply
  }

  private static func wantsStream(_ accept: String?) -> Bool {
    (accept ?? "").lowercased().split(separator: ",").contains { part in
      part.prefix { $0 != ";" }.trimmingCharacters(in: .whitespaces) == streamType
    }
  }

  /// To what the caller may read.
  static func restrict(_ filter: inout EventFilter, to caller: Principal, _ services: Services) async throws {
    filter.among = try await visible(to: caller, services)
    filter.credentials = .init(
      accounts: caller.permissions.grants(.usersRead), clients: caller.permissions.grants(.clientsRead),
      ownAccount: caller.kind == .user ? caller.subjectID : nil)
  }

  /// Of what the caller may read the daemons' events; nil: of everything.
  private static func visible(to caller: Principal, _ services: Services) async throws -> EventFilter.Places? {
    let permissions = caller.permissions
    guard let nodeIDs = permissions.things(.node, with: .eventsRead) else { return nil }
    var attachments = AttachmentFilter()
    attachments.among = .init(attachments: permissions.things(.attachment, with: .eventsRead) ?? [], nodes: [])
    let ruleSetIDs = permissions.things(.ruleSet, with: .eventsRead) ?? []
    return .init(
      nodes: Set(try await everything { try await services.store.nodes(among: nodeIDs, $0) }.map(\.name)),
      interfaces: Set(
        try await everything { [attachments] in try await services.store.attachments(attachments, $0) }
          .map { "\($0.node)/\($0.interface)" }),
      ruleSets: Set(
        try await everything { try await services.store.ruleSets(search: nil, among: ruleSetIDs, $0) }.map(\.name)))
  }
}
