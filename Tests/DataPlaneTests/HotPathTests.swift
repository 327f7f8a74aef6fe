import Glibc
import NetworkSupport
import Testing

@Suite("Hot path")
struct HotPathTests {
  /// Who calls whom among the functions of DataPlane and XSK in this very executable, by mangled name.
  private func calls() throws -> [Substring: Set<Substring>] {
    // Swift's mangling keeps identifiers in clear. One line per call: caller, callee.
    let edges = try Shell.run(
      """
      objdump -d --no-show-raw-insn /proc/\(getpid())/exe | awk '
        /^[0-9a-f]+ <.*>:$/ { name = $2; gsub(/[<>:]/, "", name); keep = name ~ /3XSK|9DataPlane/; next }
        keep && /(call|jmp|j[a-z]+) .*<.*>/ {
          callee = $0; sub(/.*</, "", callee); sub(/>.*/, "", callee); sub(/([+-]0x|@).*/, "", callee)
          if (callee != name && !seen[name, callee]++) print name, callee }'
      """)
    var graph: [Substring: Set<Substring>] = [:]
    for edge in edges.split(separator: "\n") {
      let ends = edge.split(separator: " ")
      if ends.count == 2 { graph[ends[0], default: []].insert(ends[1]) }
    }
    return graph
  }

  @Test("Nothing that processBatch and refill reach allocates, counts references, locks or checks exclusivity")
  func reachesNothingForbidden() throws {
    let graph = try calls()
    let roots = graph.keys.filter { $0.contains("9DataPlane12processBatch") || $0.contains("9DataPlane6refill") }
    #expect(roots.count >= 2, "the functions were not found")
    var reached = Set(roots)
    var pending = Array(roots)
    while let next = pending.popLast() {
      for callee in graph[next] ?? [] where reached.insert(callee).inserted { pending.append(callee) }
    }
    let forbidden = [
      "swift_retain", "swift_release", "swift_alloc", "swift_slowAlloc", "swift_beginAccess", "swift_getWitnessTable",
      "swift_getGenericMetadata", "swift_once", "malloc", "calloc", "pthread_",
    ]
    for word in forbidden { #expect(reached.filter { $0.contains(word) }.isEmpty) }
  }
}
