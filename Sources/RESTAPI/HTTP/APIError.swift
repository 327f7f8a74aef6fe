import ControlProtocol
import Hummingbird

/// Every way in which a request can fail; the raw value is the `code` of the answer.
public enum ErrorCode: String, Sendable, CaseIterable {
  case invalidJSON = "invalid_json"
  case invalidRequest = "invalid_request"
  case unauthenticated
  case tokenExpired = "token_expired"
  /// Of a sign-in whose password was right.
  case secondFactorRequired = "second_factor_required"
  case missingScope = "missing_scope"
  case passwordChangeRequired = "password_change_required"
  case secondFactorSetupRequired = "second_factor_setup_required"
  case beyondAuthority = "beyond_authority"
  case outsideDelegation = "outside_delegation"
  case ownChange = "own_change"
  case addressNotAllowed = "address_not_allowed"
  case accountRequired = "account_required"
  case notFound = "not_found"
  case methodNotAllowed = "method_not_allowed"
  case requestTimeout = "request_timeout"
  case conflict
  case staleRevision = "stale_revision"
  case preconditionFailed = "precondition_failed"
  case preconditionRequired = "precondition_required"
  case payloadTooLarge = "payload_too_large"
  case unsupportedMediaType = "unsupported_media_type"
  case validationFailed = "validation_failed"
  case nodeRefused = "node_refused"
  case idempotencyKeyReused = "idempotency_key_reused"
  case untrustedHost = "untrusted_host"
  case tooManyRequests = "too_many_requests"
  case internalError = "internal"
  case nodeUnavailable = "node_unavailable"
  case databaseUnavailable = "database_unavailable"

  /// The one status that goes with the code.
  public var status: HTTPResponse.Status {
    switch self {
    case .invalidJSON, .invalidRequest: .badRequest
    case .unauthenticated, .tokenExpired, .secondFactorRequired: .unauthorized
    case .missingScope, .passwordChangeRequired, .secondFactorSetupRequired, .beyondAuthority, .outsideDelegation,
      .addressNotAllowed, .accountRequired, .ownChange:
      .forbidden
    case .notFound: .notFound
    case .methodNotAllowed: .methodNotAllowed
    case .requestTimeout: .requestTimeout
    case .conflict: .conflict
    case .staleRevision, .preconditionFailed: .preconditionFailed
    case .preconditionRequired: .preconditionRequired
    case .untrustedHost: .misdirectedRequest
    case .payloadTooLarge: .contentTooLarge
    case .unsupportedMediaType: .unsupportedMediaType
    case .validationFailed, .nodeRefused, .idempotencyKeyReused: .unprocessableContent
    case .tooManyRequests: .tooManyRequests
    case .internalError: .internalServerError
    case .nodeUnavailable: .badGateway
    case .databaseUnavailable: .serviceUnavailable
    }
  }

  /// One sentence for the OpenAPI document.
  var summary: String {
    switch self {
    case .invalidJSON: "The body is not JSON."
    case .invalidRequest: "The request is malformed."
    case .unauthenticated: "No token, one that is not valid, or wrong credentials."
    case .tokenExpired: "The token has expired: refresh it."
    case .secondFactorRequired: "The password is right; go on with details.challenge and a code."
    case .secondFactorSetupRequired: "A role of the caller requires a second factor: set it up first."
    case .missingScope: "The caller's roles lack the scope of this operation; details.required names it."
    case .passwordChangeRequired: "The password must be changed first."
    case .beyondAuthority: "Nobody gives, takes or changes what he doesn't hold; details.missing lists the scopes."
    case .outsideDelegation: "The change reaches beyond the caller's prefixes or actions; details lists where."
    case .ownChange: "Somebody else has to approve this: the caller has written it, or a part of it."
    case .addressNotAllowed: "The API client's requests may not come from this address."
    case .accountRequired: "This is for accounts, not for API clients."
    case .notFound: "There is no such thing."
    case .methodNotAllowed: "The path exists, the method does not; Allow lists the methods."
    case .requestTimeout: "The body did not arrive in time."
    case .conflict: "The change contradicts what is there."
    case .staleRevision: "If-Match names a revision that is not the latest one."
    case .preconditionFailed: "If-Match names another state than the one that is there."
    case .preconditionRequired: "This API wants If-Match with every change; send the ETag of what you read."
    case .idempotencyKeyReused: "The Idempotency-Key was used for another request."
    case .untrustedHost: "The Host header names another server."
    case .payloadTooLarge: "The body is larger than 1 MiB."
    case .unsupportedMediaType: "The body is not application/json."
    case .validationFailed: "Fields are wrong; details lists them with their paths."
    case .nodeRefused:
      "The node's daemon refused; the message is its own. Nothing was changed, but on nodes that details tell as applied."
    case .tooManyRequests: "Too many requests or attempts; Retry-After says when to come back."
    case .internalError: "A fault in the API; the log has it under the request id."
    case .nodeUnavailable:
      "The node's daemon cannot be reached. Nothing was changed, but on nodes that details tell as applied, and unless details "
        + "have the reason outcome_unknown: it did not answer in time, or ended during the call."
    case .databaseUnavailable: "The database cannot be reached; Retry-After says when to come back."
    }
  }
}

/// A failure as the caller sees it. Thrown by handlers, turned into a response in one place.
public struct APIError: Error, Sendable {
  public var code: ErrorCode
  public var message: String
  public var details: JSONValue?
  public var headers: HTTPFields

  public init(_ code: ErrorCode, _ message: String, details: JSONValue? = nil, headers: HTTPFields = [:]) {
    self.code = code
    self.message = message
    self.details = details
    self.headers = headers
  }

  /// Wrong fields, all of them.
  static func validation(_ problems: [Problem]) -> APIError {
    let subject = problems.count == 1 ? "1 field is wrong" : "\(problems.count) fields are wrong"
    let first = problems.first.map { "\($0.path.isEmpty ? "body" : $0.path): \($0.message)" } ?? ""
    return APIError(
      .validationFailed, "\(subject); first: \(first)", details: .array(problems.map(\.json)))
  }

  /// One wrong field.
  static func validation(_ path: String, _ code: String, _ message: String) -> APIError {
    validation([Problem(path: path, code: code, message: message)])
  }

  static func notFound(_ kind: String, _ name: String) -> APIError {
    APIError(.notFound, "there is no \(kind) '\(name.prefix(128))'", details: ["kind": .string(kind)])
  }

  /// With `Retry-After`.
  func retry(afterSeconds seconds: Int) -> APIError {
    var copy = self
    copy.headers[.retryAfter] = String(seconds)
    return copy
  }
}
