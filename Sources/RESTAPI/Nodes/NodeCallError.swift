import GRPCCore

/// A call to a daemon that failed: which node, and how gRPC said it.
struct NodeCallError: Error, CustomStringConvertible {
  let node: String
  let address: String
  let code: RPCError.Code
  let message: String

  init(node: String, address: String, _ error: any Error) {
    self.node = node
    self.address = address
    if let error = error as? RPCError {
      code = error.code
      // What ended a connection stands in the cause.
      message = error.cause.map { "\(error.message) (\($0))" } ?? error.message
    } else {
      code = .unavailable
      message = "\(error)"
    }
  }

  var description: String { "node \(node) at \(address): \(code): \(message)" }

  private var details: JSONValue {
    ["node": .string(node), "grpc_code": .string("\(code)".replacing(" ", with: "_").lowercased())]
  }

  /// The one mapping from the daemon's codes to the API's.
  var apiError: APIError {
    switch code {
    case .invalidArgument, .failedPrecondition, .resourceExhausted, .alreadyExists, .outOfRange:
      APIError(.nodeRefused, message, details: details)
    case .notFound: APIError(.notFound, message, details: details)
    case .unavailable, .deadlineExceeded, .cancelled:
      APIError(
        .nodeUnavailable,
        "node '\(node)' cannot be reached at \(address): is sluiced running there, and may this user open its socket?",
        details: details)
    default:
      APIError(.nodeUnavailable, "the daemon of node '\(node)' failed: \(message)", details: details)
    }
  }
}
