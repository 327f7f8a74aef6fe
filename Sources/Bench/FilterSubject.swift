import LinuxSystem
import RuleCompiler
import Rules
import XDPPrograms

extension Subject {
  /// How long rules took to apply, on a line of a filter subject's output.
  static let appliedText = "sluice-bench-applied-ns"

  /// Drops by as many rules as asked, in Sluice's XDP program; tells how long they took from their text until they decided.
  public static func filter(_ name: String, ruleCount: Int) throws {
    StopFlag.install()
    let program = try OwnProgram.attach(to: try NetworkInterface.named(name))
    let text = FilterLoad(ruleCount: ruleCount).rulesText
    let start = SystemClock.monotonicNanoseconds()
    let ruleSet = try RuleSetText.parse(text)
    let slots = OwnProgram.slots(of: ruleSet)
    let generation = try compile(
      ruleSet, slots: { slots[$0] ?? 0 }, interfaceIndex: { _ in nil }, generation: 2, captureFallback: .drop)
    try OwnProgram.replaceRules(of: program, by: generation)
    tell("\(appliedText) \(SystemClock.monotonicNanoseconds() - start)")
    tell(readyText)
    StopFlag.wait()
    var counted: UInt64 = 0
    for slot in slots.values { counted += try program.ruleCounter(slot: slot).packets }
    tell(Account(packets: counted).line)
  }

  /// Drops everything, by a program that looks at nothing: what a filter costs without the filter.
  public static func drop(_ name: String) throws {
    StopFlag.install()
    let sink = try Sink(name)
    tell(readyText)
    StopFlag.wait()
    withExtendedLifetime(sink) {}
  }
}
