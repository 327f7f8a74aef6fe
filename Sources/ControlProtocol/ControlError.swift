public import GRPCCore

/// Why a call to the daemon failed: its status, and a message that names the cause and, where known, the remedy.
public struct ControlError: Error, Hashable, Sendable, CustomStringConvertible {
  public let code: RPCError.Code
  public let message: String
  /// The call was under way when it ended: the daemon may have done what it was asked for, or may do it yet.
  public let isOutcomeUnknown: Bool

  public init(_ code: RPCError.Code, _ message: String) {
    self.init(code, message, isOutcomeUnknown: code == .deadlineExceeded || code == .cancelled)
  }

  private init(_ code: RPCError.Code, _ message: String, isOutcomeUnknown: Bool) {
    self.code = code
    self.message = message
    self.isOutcomeUnknown = isOutcomeUnknown
  }

  /// Of whatever a call threw.
  init(_ error: any Error, calling address: ControlAddress, timeout: Duration?) {
    guard let error = error as? RPCError else {
      self = error as? ControlError ?? ControlError(.unknown, "\(error)")
      return
    }
    switch error.code {
    case .unavailable where error.isCutOff:
      self.init(
        .unavailable, "the connection to sluiced at \(address) ended during the call: it may have done what it was asked for",
        isOutcomeUnknown: true)
    case .unavailable where error.isOfTransport:
      self.init(.unavailable, address.diagnosis())
    case .deadlineExceeded:
      let limit = timeout.map { " within \($0.components.seconds) s" } ?? ""
      self.init(.deadlineExceeded, "sluiced at \(address) did not answer\(limit)")
    case .unimplemented where error.message.isEmpty:
      self.init(.unimplemented, "sluiced at \(address) is older than this command and does not know the request")
    default:
      self.init(error.code, error.message)
    }
  }

  /// Whether no daemon answered, rather than that it refused.
  public var isUnreachable: Bool { code == .unavailable || code == .deadlineExceeded }

  public var description: String { message }
}

extension RPCError {
  /// Whether the connection ended before the answer, as the transport says it (GRPCStreamStateMachine.swift); a stream that
  /// was reset (RST_STREAM) may have been refused.
  fileprivate var isCutOff: Bool {
    message == "Stream unexpectedly closed." || message == "Stream unexpectedly closed with error."
  }

  /// Whether it was made on this side: the connection failed. (A daemon that is shutting down says UNAVAILABLE itself,
  /// in words of its own; the transport's come with a cause or are about channels and connections.)
  fileprivate var isOfTransport: Bool {
    cause != nil || message.isEmpty || message.lowercased().contains("channel")
      || message.lowercased().contains("connect")
  }
}
