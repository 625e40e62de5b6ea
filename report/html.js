"use strict";
(function () {
  var form = document.getElementById("filters");
  if (!form) { return; }
  var count = document.getElementById("count");
  var target = document.getElementById("by-target");
  var status = document.getElementById("by-status");
  var rows = document.querySelectorAll(".results tbody tr");
  function apply() {
    var shown = 0;
    rows.forEach(function (row) {
      var want = status.value;
      row.hidden = (target && target.value !== "" && target.value !== row.dataset.target) ||
        (want !== "" && want !== row.dataset.met && want !== row.dataset.status);
      if (!row.hidden) { shown++; }
    });
    count.textContent = shown + " of " + rows.length + " shown";
  }
  form.addEventListener("change", apply);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("reset", function () { setTimeout(apply, 0); });
  form.hidden = false;
  apply(); // a browser may have kept the choice over a reload
})();
