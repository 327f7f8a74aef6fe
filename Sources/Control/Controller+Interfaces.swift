import Glibc
import LinuxSystem
import Rules

extension Controller {
  func findInterface(_ name: String) throws(ControlError) -> NetworkInterface {
    if let fault = interfaceNameFault(name) {
      throw ControlError(.invalidArgument, "\"\(name.prefix(64))\" is no interface name: \(fault)")
    }
    do throws(SystemError) {
      return try NetworkInterface.named(name)
    } catch {
      guard error.code == ENODEV else { throw ControlError(error) }
      let names = ((try? NetworkInterface.all()) ?? []).map(\.name).filter { $0 != "lo" }
      throw ControlError(.notFound, "there is no interface \(name); there are: \(names.joined(separator: ", "))")
    }
  }

  func interfaceIndices() throws(ControlError) -> [String: UInt32] {
    do throws(SystemError) {
      return Dictionary(
        try NetworkInterface.all().map { ($0.name, $0.index) }, uniquingKeysWith: { first, _ in first })
    } catch {
      throw ControlError(error)
    }
  }

  func checkCapabilities() throws(ControlError) {
    guard let effective = try? Capabilities.effective() else { return }
    let missing = effective.missing(of: [.bpf, .netAdmin, .perfmon]).filter { _ in !effective.has(.sysAdmin) }
    guard missing.isEmpty else {
      throw ControlError(
        .failedPrecondition,
        "the daemon lacks \(missing.map(\.name).joined(separator: " and ")): run it as root, or grant them in its unit "
          + "(AmbientCapabilities=)")
    }
  }
}
