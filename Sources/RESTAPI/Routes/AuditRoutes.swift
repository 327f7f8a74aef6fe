import Audit
import ControlProtocol
import Foundation
import Hummingbird
import Storage

/// The audit log: read only. Nothing in the API changes it; records come with the changes themselves.
enum AuditRoutes {
  private static let base = RouteTable.base + "/audit-log"

  static let all: [Route] = [
    Route(
      .get, base, "listAuditLog", tag: "audit", "Records of the audit log, newest first.", access: .scope(.auditRead),
      query: [
        .optional("actor", .text(max: 254), "Address or id"), .optional("operation", .text(max: 64)),
        .optional("outcome", .words(AuditOutcome.allCases.map(\.rawValue))),
        .optional("subject_kind", .text(max: 64)), .optional("subject_id", .text(max: 512)),
        .optional("request_id", .text(max: 64)), .optional("address", .text(max: 64)),
        .optional("since", Shapes.time, "Not before"), .optional("until", Shapes.time, "Before"),
        .optional("after", .integer(0...Int64.max), "Only records with a greater sequence"),
        .optional("order", .words(["desc", "asc"]), default: "desc"),
      ], answer: .page(record, by: .auditLog), handler: list),
    Route(
      .get, base + "/head", "auditHead", tag: "audit",
      "The last record's place and hash: keep it elsewhere, and a log that was rewritten shows.",
      access: .scope(.auditRead),
      answer: .data(.named("AuditHead", .object([.required("sequence", .count), .required("hash", .string())])))
    ) { _, services in
      let head = try await services.store.auditHead()
      return .data(["sequence": .count(head.sequence), "hash": .string(head.hash)])
    },
  ]

  private static let record = Schema.named(
    "AuditRecord",
    .object([
      .required("sequence", .count, "From 1, without gaps"),
      .required("previous_hash", .string(), "Hash of the record before"),
      .required("hash", .string(), "SHA-256 of this record as JSON without hash, members sorted, no white space"),
      .required("at", .timestamp),
      .required(
        "actor",
        .object([
          .required("kind", .words(AuditActor.Kind.allCases.map(\.rawValue))), .required("id", .nullable(.string())),
          .required("name", .string()),
        ])),
      .required("address", .string()), .required("request_id", .string()), .required("operation", .string()),
      .required("outcome", .words(AuditOutcome.allCases.map(\.rawValue))),
      .required("code", .nullable(.string()), "Of the error"),
      .required(
        "subject", .nullable(.object([.required("kind", .string()), .required("id", .string())]))),
      .required("before", .any), .required("after", .any),
    ]))

  @Sendable private static func list(_ call: Call, _ services: Services) async throws -> Reply {
    let query = call.query
    let filter = AuditFilter(
      actor: query["actor"]?.string, operation: query["operation"]?.string,
      outcome: query["outcome"]?.string.flatMap(AuditOutcome.init), subjectKind: query["subject_kind"]?.string,
      subjectID: query["subject_id"]?.string, requestID: query["request_id"]?.string,
      address: query["address"]?.string, since: query["since"]?.string.flatMap(Shapes.date),
      until: query["until"]?.string.flatMap(Shapes.date), after: query["after"]?.integer.map { UInt64($0) },
      isAscending: query["order"]?.string == "asc")
    let page = call.page
    return .page(try await services.store.auditLog(filter, page), page) { $0 }
  }
}
