import LinuxSystem
import XDPPrograms

extension Subject {
  /// Two interfaces joined in the kernel, by devmap redirect.
  ///
  /// - Parameter classifies: By Sluice's program, after its rules; else by a bare one.
  public static func kernelWire(_ first: String, _ second: String, classifies: Bool) throws {
    StopFlag.install()
    let interfaces = [try NetworkInterface.named(first), try NetworkInterface.named(second)]
    let programs = try zip(interfaces, interfaces.reversed()).map {
      try LeadingProgram.forward(from: $0, to: $1, classifies: classifies)
    }
    tell(readyText)
    StopFlag.wait()
    tell(Account(packets: 0).line)
    withExtendedLifetime(programs) {}
  }
}
