import Identity
import Rules
import Storage

/// Failures of the layers below, in the words of the API. The one place that knows both.
enum ErrorMapping {
  /// Nil for what nobody expected: an internal error.
  static func apiError(for error: any Error) -> APIError? {
    switch error {
    case let error as StorageError: storage(error)
    case let error as DelegationError:
      APIError(
        .outsideDelegation, "the change reaches beyond what was delegated to you",
        details: .array(
          error.faults.map {
            ["path": .string($0.path), "code": "outside_delegation", "message": .string($0.message)]
          }))
    case let error as NodeCallError: error.apiError
    case let error as CostlyWork.QueueFull:
      APIError(.tooManyRequests, "too many \(error.work) at once").retry(afterSeconds: 1)
    case let error as PasswordPolicy.Violation: APIError.validation("password", "invalid", error.description)
    default: nil
    }
  }

  private static func storage(_ error: StorageError) -> APIError? {
    switch error {
    case .notFound(let kind, let key): .notFound(kind, key)
    case .conflict(let field):
      APIError(
        .conflict, error.description, details: [["path": .string(field), "code": "duplicate", "message": "is taken"]])
    case .inUse(let kind, let by):
      APIError(.conflict, error.description, details: ["kind": .string(kind), "used_by": .string(by)])
    case .staleRevision(let expected, let current):
      APIError(
        .staleRevision, error.description, details: ["expected": .count(expected), "current": .count(current)])
    case .ownChange: APIError(.ownChange, error.description)
    case .lastAdministrator: APIError(.conflict, error.description, details: ["reason": "last_administrator"])
    case .invalid(let field, let reason): .validation(field, "invalid", reason)
    case .busy: APIError(.conflict, error.description, details: ["reason": "busy"]).retry(afterSeconds: 2)
    // What the database said stays in the log.
    case .unavailable, .misconfigured:
      APIError(.databaseUnavailable, "the database cannot be used at the moment").retry(afterSeconds: 2)
    case .migration, .corrupt, .failed: nil
    }
  }
}
