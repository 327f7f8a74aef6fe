import LinuxSystem
import RuleCompiler
import Rules
import XDPPrograms

/// Why the daemon did not do what was asked. Nothing has changed then.
public struct ControlError: Error, Sendable, CustomStringConvertible {
  /// In the terms of gRPC's status codes, which the control channel maps one to one.
  public enum Kind: String, Sendable {
    /// The request is wrong by itself.
    case invalidArgument
    case notFound
    case alreadyExists
    /// The system is in the way: another program, a capability, a kernel feature.
    case failedPrecondition
    /// A named limit.
    case resourceExhausted
    /// A defect of Sluice: the self-test failed.
    case `internal`
    /// The daemon is shutting down.
    case unavailable
  }

  public let kind: Kind
  /// Names the cause and, where known, the remedy.
  public let message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  public var description: String { message }
}

extension ControlError {
  init(_ error: ProgramError) {
    switch error {
    case .system(let error): self.init(error)
    case .interfaceBusy, .heldByAnotherDaemon, .dispatcherUnavailable, .refusedByVerifier, .cannotTransmit:
      self.init(.failedPrecondition, error.description)
    case .tooManyCountedElements: self.init(.resourceExhausted, error.description)
    case .malformedObject: self.init(.internal, error.description)
    }
  }

  init(_ error: SystemError) { self.init(.failedPrecondition, error.description) }

  init(_ error: CompileError) {
    switch error {
    case .invalid: self.init(.invalidArgument, error.description)
    case .tooManyEntries, .tooCostly, .tooComplex, .tooManyLargeSets, .crowdedSets, .alikeSetNames:
      self.init(.resourceExhausted, error.description)
    case .unknownInterface: self.init(.failedPrecondition, error.description)
    case .slotOutOfRange: self.init(.internal, error.description)
    }
  }
}
