import LinuxSystem
import XDPPrograms

/// Drops what arrives at a device, at the earliest place and at the least cost. The device counts it.
final class Sink {
  private let program: BareProgram

  init(_ interface: String) throws {
    program = try BareProgram(interfaceIndex: try NetworkInterface.named(interface).index, purpose: .drop)
  }
}
