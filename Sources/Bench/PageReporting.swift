import LinuxSystem

/// From which order of free blocks on the kernel tells its host of them (`mm/page_reporting.c`): a setting of the machine, and
/// of no namespace. Any thread.
struct PageReporting: Sendable {
  private static let parameter = "/sys/module/page_reporting/parameters/page_reporting_order"

  /// As it is now; nil where the kernel reports none.
  private let order = try? SmallFile.readText(PageReporting.parameter)

  /// No block is larger than order 10 (MAX_PAGE_ORDER); a kernel that takes 10 at most still reports the very large.
  func stop() {
    if order != nil, !PageReporting.set("11") { _ = PageReporting.set("10") }
  }

  /// As it was when this was made.
  func restore() { if let order { _ = PageReporting.set(order) } }

  private static func set(_ order: String) -> Bool {
    (try? SmallFile.overwrite(parameter, with: order)) != nil
  }
}
