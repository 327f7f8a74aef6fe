public import GRPCCore

/// A field of a message that doesn't say what it must. On the wire it is INVALID_ARGUMENT with ``description``.
public struct FieldError: Error, Hashable, Sendable, CustomStringConvertible, RPCErrorConvertible {
  /// Where it stands, in the names of the proto file: `rule_set.rules[3].match.sources[0]`.
  public let path: String
  /// What is wrong with it and, where known, what to write instead.
  public let reason: String

  public init(path: String, reason: String) {
    self.path = path
    self.reason = reason
  }

  public var description: String { "\(path): \(reason)" }
  public var rpcErrorCode: RPCError.Code { .invalidArgument }
  public var rpcErrorMessage: String { description }
}
