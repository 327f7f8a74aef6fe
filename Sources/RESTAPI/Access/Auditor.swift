import Audit
import ControlProtocol
import Logging
import Storage

/// Puts a request under the audit log. What the store changes it records itself, in the same transaction, in the name
/// of the request that this sets; here is only what the store cannot see: a change that a daemon made, and a refusal.
///
/// Every request of somebody who proved who he is leaves a record if its route may change something, whatever came of
/// it, and if it was refused. Refused sign-ins are recorded where they are counted.
struct Auditor: Sendable {
  let route: Route
  let services: Services

  func audited<Result: Sendable>(
    _ context: APIContext, userAgent: String?, _ serve: (inout Call?) async throws -> Result
  ) async throws -> Result {
    let request = AuditedRequest(
      address: context.remoteAddress, requestID: context.requestID, operation: route.operation,
      userAgent: userAgent ?? "")
    return try await AuditedRequest.$current.withValue(request) {
      var call: Call?
      let result: Result
      do { result = try await serve(&call) } catch {
        await recordFailure(error, call, request)
        throw error
      }
      if route.changes, request.actor.kind != .anonymous, request.recordCount == 0 {
        // It is done: where this cannot be recorded nothing else may be, least of all that it failed.
        do { try await services.store.recordAudit(event(call, .succeeded, code: nil)) } catch {
          tellMissing(request, "done", error)
          throw error
        }
      }
      return result
    }
  }

  /// The caller gets his error either way; that the record is missing is for the log.
  private func recordFailure(_ error: any Error, _ call: Call?, _ request: AuditedRequest) async {
    guard request.actor.kind != .anonymous else { return }
    let code = (error as? APIError ?? ErrorMapping.apiError(for: error))?.code ?? .internalError
    let outcome: AuditOutcome = Self.refusals.contains(code) ? .refused : .failed
    guard route.changes || outcome == .refused else { return }
    do {
      try await services.store.recordAudit(event(call, outcome, code: code.rawValue))
    } catch {
      tellMissing(request, code.rawValue, error)
    }
  }

  private func tellMissing(_ request: AuditedRequest, _ code: String, _ error: any Error) {
    services.logger.error(
      "a record is missing in the audit log",
      metadata: [
        "request_id": "\(request.requestID)", "operation": "\(route.operation)", "code": "\(code)",
        "actor": "\(request.actor.name)", "error": "\(error)",
      ])
  }

  private static let refusals: Set<ErrorCode> = [
    .unauthenticated, .tokenExpired, .missingScope, .passwordChangeRequired, .secondFactorSetupRequired,
    .beyondAuthority, .outsideDelegation, .ownChange,
    .addressNotAllowed, .accountRequired, .tooManyRequests,
  ]

  private func event(_ call: Call?, _ outcome: AuditOutcome, code: String?) -> AuditEvent {
    let names = route.pathParameters.compactMap { call?.path[$0] }
    return AuditEvent(
      outcome: outcome, code: code,
      subject: names.isEmpty ? nil : AuditSubject(kind: route.auditedKind, id: names.joined(separator: "/")),
      after: request(call))
  }

  /// What was asked for, without its secrets.
  private func request(_ call: Call?) -> JSONValue {
    guard let call, let schema = route.body, call.body != .null else { return .null }
    return ["request": schema.redacted(call.body)]
  }
}

extension Route {
  /// The noun of the thing that the path names: of `/api/v1/nodes/{name}/wires/{wire}` it is `wire`.
  fileprivate var auditedKind: String {
    let noun = segments.last { !$0.hasPrefix("{") && $0.hasSuffix("s") } ?? Substring(tag)
    return String(noun.dropLast(noun.hasSuffix("s") ? 1 : 0)).replacing("-", with: "_")
  }
}

extension Schema {
  /// A checked value in which what must never be shown is replaced.
  func redacted(_ value: JSONValue) -> JSONValue {
    switch self {
    case .named(_, let inner), .nullable(let inner): return value == .null ? .null : inner.redacted(value)
    case .string(let shape): return shape.isSecret ? "<redacted>" : value
    case .array(let element, _, _): return .array((value.array ?? []).map(element.redacted))
    case .negatableArray(let element, _):
      if let members = value.object { return .object(members.mapValues(Schema.array(element, max: Int.max).redacted)) }
      return .array((value.array ?? []).map(element.redacted))
    case .map(let element, _): return .object((value.object ?? [:]).mapValues(element.redacted))
    case .object(let fields), .strictObject(let fields):
      let members = value.object ?? [:]
      return .object(
        Dictionary(
          fields.compactMap { field in members[field.name].map { (field.name, field.schema.redacted($0)) } },
          uniquingKeysWith: { first, _ in first }))
    case .boolean, .integer, .number, .any: return value
    }
  }
}
