import CLinuxShims
import Glibc

/// A system call that failed: what was tried, on what, why not, and what helps.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The call or step, for example `bind` or `mount bpffs`.
  public let operation: String
  /// The `errno`, positive.
  public let code: CInt
  /// What it was done to: a path, an interface, a queue.
  public let subject: String
  /// What the operator can do about it, if known: "needs CAP_NET_ADMIN".
  public let remedy: String?

  public init(operation: String, code: CInt, subject: String, remedy: String? = nil) {
    self.operation = operation
    self.code = code
    self.subject = subject
    self.remedy = remedy
  }

  /// The symbolic name of ``code``: `EBUSY`; the number where it has none.
  public var codeName: String { sluice_error_name(code).map { String(cString: $0) } ?? "errno \(code)" }

  /// `bind veth0 queue 3: Device or resource busy (EBUSY); another socket is bound to the queue`.
  public var description: String {
    let reason = sluice_error_description(code).map { String(cString: $0) } ?? "unknown error"
    let head = subject.isEmpty ? operation : "\(operation) \(subject)"
    return "\(head): \(reason) (\(codeName))" + (remedy.map { "; \($0)" } ?? "")
  }

  /// The same failure with another remedy, for a caller who knows more.
  public func withRemedy(_ remedy: String?) -> SystemError {
    SystemError(operation: operation, code: code, subject: subject, remedy: remedy ?? self.remedy)
  }
}

/// Runs a call that reports failure by -1 and `errno`; repeats it on EINTR.
///
/// - Parameter needs: The capability whose lack EPERM and EACCES mean here; becomes the error's remedy.
@discardableResult
package func check<R: FixedWidthInteger & SignedInteger>(
  _ operation: StaticString, _ subject: @autoclosure () -> String = "", needs: Capability? = nil, _ body: () -> R
) throws(SystemError) -> R {
  while true {
    let result = body()
    if result != -1 { return result }
    let code = errno  // before anything can overwrite it
    if code == EINTR { continue }
    let lacksPrivilege = code == EPERM || code == EACCES
    throw SystemError(
      operation: "\(operation)", code: code, subject: subject(),
      remedy: lacksPrivilege ? needs.map { "needs \($0.name)" } : nil)
  }
}

/// Throws for a function of the pthread family, which returns the error number itself.
package func checkPOSIX(
  _ operation: StaticString, _ subject: @autoclosure () -> String = "", _ code: CInt
) throws(SystemError) {
  if code != 0 { throw SystemError(operation: "\(operation)", code: code, subject: subject()) }
}
