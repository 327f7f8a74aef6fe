import Glibc
import XSKSupport
import Testing

@Suite("Hot path")
struct HotPathTests {
  /// The machine code of the functions whose mangled names contain `name`, in this very executable.
  private func disassemble(_ name: String) throws -> [String] {
    // Swift's mangling keeps identifiers in clear.
    try run(
      """
      objdump -d --no-show-raw-insn /proc/\(getpid())/exe \
      | awk '/^[0-9a-f]+ <.*>:$/ { keep = index($0, "\(name)") } keep'
      """
    ).split(separator: "\n").map(String.init)
  }

  @Test("processBatch and refill call nothing that allocates, counts references, locks or checks exclusivity",
    arguments: ["9DataPlane12processBatch", "9DataPlane6refill"])
  func callsNothingForbidden(name: String) throws {
    let code = try disassemble(name)
    #expect(code.count > 10, "the function was not found")
    let calls = code.filter { $0.contains("call") || $0.contains("jmp") }
    for word in ["swift_retain", "swift_release", "swift_alloc", "swift_beginAccess", "malloc", "pthread", "swift_getWitness"] {
      #expect(calls.filter { $0.contains(word) }.isEmpty, "\(word)")
    }
  }
}
