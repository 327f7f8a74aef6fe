import Glibc

/// A file descriptor that closes when its owner goes. Moves between threads; one owner at a time.
public struct OwnedDescriptor: ~Copyable, Sendable {
  /// Valid while this value lives; never close it.
  public let rawValue: CInt

  /// Takes over an open descriptor.
  public init(owning rawValue: CInt) {
    precondition(rawValue >= 0, "a descriptor is not negative")
    self.rawValue = rawValue
  }

  deinit { _ = Glibc.close(rawValue) }

  /// Gives the descriptor up unclosed.
  public consuming func release() -> CInt {
    let rawValue = rawValue
    discard self
    return rawValue
  }

  /// A second descriptor of the same open file, closed on exec.
  public borrowing func duplicate() throws(SystemError) -> OwnedDescriptor {
    let rawValue = rawValue
    return OwnedDescriptor(owning: try check("duplicate descriptor") { fcntl(rawValue, F_DUPFD_CLOEXEC, 0) })
  }

  /// open(2), closed on exec. `needs`: the capability whose lack EPERM and EACCES mean here.
  public static func open(
    _ path: String, flags: CInt, mode: mode_t = 0o600, needs: Capability? = nil
  ) throws(SystemError) -> OwnedDescriptor {
    OwnedDescriptor(
      owning: try check("open", path, needs: needs) { Glibc.open(path, flags | O_CLOEXEC, mode) })
  }

  /// socket(2), closed on exec.
  public static func socket(
    family: CInt, type: CInt, protocol number: CInt = 0, needs: Capability? = nil
  ) throws(SystemError) -> OwnedDescriptor {
    let type = type | CInt(SOCK_CLOEXEC.rawValue)
    return OwnedDescriptor(
      owning: try check("socket", "family \(family)", needs: needs) { Glibc.socket(family, type, number) })
  }
}
