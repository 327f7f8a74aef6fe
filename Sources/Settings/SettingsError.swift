/// What is wrong with the settings: everything that was found, not only the first.
public struct SettingsError: Error, Hashable, Sendable, CustomStringConvertible {
  public struct Fault: Hashable, Sendable, CustomStringConvertible {
    /// `HTTP_PORT`, `/etc/sluice/sluice.yaml: api.port` or `--set api.port`.
    public let origin: String
    /// As it stood there; nil where it is secret or there is none.
    public let value: String?
    /// What is wrong, and what to write instead.
    public let reason: String

    public var description: String {
      value.map { "\(origin): \"\($0)\" \(reason)" } ?? "\(origin): \(reason)"
    }
  }

  public let faults: [Fault]

  public var description: String { faults.map(\.description).joined(separator: "\n") }

  init(_ faults: [Fault]) { self.faults = faults }
  init(_ origin: String, _ reason: String) { faults = [Fault(origin: origin, value: nil, reason: reason)] }
}
