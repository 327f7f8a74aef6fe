import LinuxSystem
import XDPPrograms

/// Drops what arrives at a device, at the earliest place. The device counts it.
final class Sink {
  private let program: InterfaceProgram

  init(_ interface: String) throws {
    program = try OwnProgram.attach(to: try NetworkInterface.named(interface), defaultAction: .drop)
  }
}
