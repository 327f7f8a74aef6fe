import Glibc
import LinuxSystem

/// Why a program could not be loaded, attached or fed.
public enum ProgramError: Error, Sendable, CustomStringConvertible {
  case system(SystemError)
  /// The kernel's verifier refused the program. `summary` is the decisive line, `log` the whole text.
  case refusedByVerifier(program: String, summary: String, log: String)
  /// Another XDP program holds the interface.
  case interfaceBusy(interface: String, programID: UInt32, programName: String, remedy: String)
  /// Another process holds the pins of the interface.
  case heldByAnotherDaemon(interface: String, pins: String)
  /// libxdp's dispatcher was asked for and can't be had.
  case dispatcherUnavailable(interface: String, reason: String)
  /// The interface takes no XDP frames now.
  case cannotTransmit(interface: String, reason: String)
  /// The map of the counters of elements is full.
  case tooManyCountedElements(limit: Int)
  /// The embedded object lacks what this code expects: the build is inconsistent.
  case malformedObject(String)

  public var description: String {
    switch self {
    case .system(let error): error.description
    case .refusedByVerifier(let program, let summary, _):
      "the kernel's verifier refused \(program): \(summary)"
    case .interfaceBusy(let interface, let id, let name, let remedy):
      "\(interface) already runs the XDP program \(name.isEmpty ? "" : "\(name) ")(id \(id)); \(remedy)"
    case .heldByAnotherDaemon(let interface, let pins):
      "\(interface) belongs to another sluiced that runs, which holds \(pins): detach it there, or stop that daemon; "
        + "for an interface of that name in another network namespace, mount a BPF file system of its own"
    case .dispatcherUnavailable(let interface, let reason):
      "libxdp's dispatcher cannot be used on \(interface): \(reason)"
    case .cannotTransmit(let interface, let reason): "\(interface) takes no XDP frames: \(reason)"
    case .tooManyCountedElements(let limit): "there is room for the counters of \(limit) elements"
    case .malformedObject(let what): "embedded BPF object: \(what)"
    }
  }
}

/// Runs a libbpf call that reports failure as a negative errno.
@discardableResult
func checkBPF(
  _ operation: String, _ subject: @autoclosure () -> String, remedy: @autoclosure () -> String? = nil,
  _ body: () -> CInt
) throws(ProgramError) -> CInt {
  let result = body()
  if result >= 0 { return result }
  throw .system(systemError(operation, subject(), code: -result, remedy: remedy()))
}

func systemError(_ operation: String, _ subject: String, code: CInt, remedy: String? = nil) -> SystemError {
  let privilege = code == EPERM || code == EACCES ? "needs CAP_BPF and CAP_NET_ADMIN" : nil
  return SystemError(operation: operation, code: code, subject: subject, remedy: remedy ?? privilege)
}
