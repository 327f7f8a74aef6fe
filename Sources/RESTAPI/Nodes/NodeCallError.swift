import ControlProtocol
import GRPCCore

/// A call to a node's daemon that failed.
struct NodeCallError: Error, CustomStringConvertible {
  let node: String
  let cause: ControlError

  init(node: String, _ cause: ControlError) {
    self.node = node
    self.cause = cause
  }

  /// There is no such interface, attachment or capture on the daemon.
  var isNotFound: Bool { cause.code == .notFound }

  /// The call was under way when the time for it was over, or the connection.
  var isOutcomeUnknown: Bool { cause.isOutcomeUnknown }

  var description: String { "node \(node): \(cause.code): \(cause.message)" }

  private var details: JSONValue {
    ["node": .string(node), "grpc_code": .string("\(cause.code)".replacing(" ", with: "_").lowercased())]
  }

  /// The one mapping from the daemon's codes to the API's.
  var apiError: APIError {
    if isOutcomeUnknown {
      return APIError(
        .nodeUnavailable,
        "node '\(node)' did not answer: it may have done what it was asked for, or may do it yet; look at `observed` of its attachments",
        details: ["node": .string(node), "reason": "outcome_unknown"])
    }
    return switch cause.code {
    case .invalidArgument, .failedPrecondition, .resourceExhausted, .alreadyExists, .outOfRange:
      APIError(.nodeRefused, cause.message, details: details)
    case .notFound: APIError(.notFound, cause.message, details: details)
    case .unavailable: APIError(.nodeUnavailable, "node '\(node)' cannot be reached: \(cause.message)", details: details)
    default: APIError(.nodeUnavailable, "the daemon of node '\(node)' failed: \(cause.message)", details: details)
    }
  }
}
